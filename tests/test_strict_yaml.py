"""What YAML may say, and where each refusal points."""

from __future__ import annotations

import pytest

from sharpaudit import strict_yaml
from sharpaudit.errors import UnsafeInput, UsageError


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"a: 1\na: 2\n", "the key 'a' occurs twice (line 2, column 1): a: 2"),
        (b"a: 1\r\nb: 2\r\na: 2\r\n", "the key 'a' occurs twice (line 3, column 1): a: 2"),
        (b"[" * 5000, "nested more than 20 levels deep"),
        (b"a: 1\n---\nb: 2\n", "a second document in one file (line 2, column 1): ---"),
        (b"? [1, 2]\n: 3\n", "a key must be a word"),
        (b"a: 017\n", "'017' is read differently by different readers"),
        (b"a: 0x1F\n", "'0x1F' is read differently by different readers"),
        (b"a: 1_000\n", "'1_000' is read differently by different readers"),
        (b"a: \xff\n", "not UTF-8 text: byte 3"),
        ("a: 1\n".encode("utf-16"), "not UTF-8 text: byte 0"),
        (b"a: \x00\n", "not YAML: character 0x0 at position 3"),
        (b"a: [1\n", "(line 2, column 1)"),
        (b"a:\n\tb: 1\n", "found character '\\t' that cannot start any token (line 2, column 1): b: 1"),
        (b"x: 1\ny: [a\xe2\x80\xaeb, }\n", "(line 2, column 10): y: [a\\u202eb, }"),
        (b"a: '" + b"x" * 2**18 + b"'\n", "are more than such a file may have"),
    ],
)
def test_yaml_that_is_refused(text: bytes, words: str) -> None:
    with pytest.raises(UsageError) as refused:
        strict_yaml.load(text, source="p.yaml")
    assert words in refused.value.message and "\n" not in refused.value.message
    assert refused.value.path == "p.yaml"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"a: &x 1\nb: 2\n", "anchors are not allowed (line 1, column 4): a: &x 1"),
        (b"a: *x\n", "aliases are not allowed (line 1, column 4): a: *x"),
        (b"a: &l [" + b"&m [1, 1]," * 3 + b"]\n", "anchors are not allowed"),
        (b"a: !!python/object/apply:os.system [ls]\n", "tags are not allowed (line 1, column 4)"),
        (b"a: !!float nan\n", "tags are not allowed"),
    ],
)
def test_yaml_that_could_name_code_or_explode(text: bytes, words: str) -> None:
    with pytest.raises(UnsafeInput) as refused:
        strict_yaml.load(text, source="p.yaml")
    assert words in refused.value.message


def test_a_byte_order_mark_and_other_line_ends_change_nothing() -> None:
    for text in (b"\xef\xbb\xbfa: 1\nb: 2\n", b"a: 1\r\nb: 2\r\n", b"a: 1\rb: 2\r"):
        assert strict_yaml.load(text, source="p.yaml") == {"a": 1, "b": 2}


def test_yaml_means_what_version_1_2_says() -> None:
    text = b"a: 1e-3\nb: no\nc: 12:30:45\nd: ~\ne: [1, -2.5, .5, true]\nf: '017'\ng: 123456789012345678901234567890\n<<: x\nh:\n"
    found = strict_yaml.load(text, source="p.yaml")
    assert found == {
        "a": 0.001,
        "b": "no",
        "c": "12:30:45",
        "d": None,
        "e": [1, -2.5, 0.5, True],
        "f": "017",
        "g": 123456789012345678901234567890.0,
        "<<": "x",
        "h": None,
    }
