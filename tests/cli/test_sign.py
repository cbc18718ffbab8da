"""Signatures of runs and checkpoints: whoever holds the key can make one, and nothing else is believed.

The oracle reads the published format by itself: a DSSE envelope over an in-toto statement, verified by `cryptography`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import sharpaudit
from sharpaudit import store
from sharpaudit.card import Card, codec
from sharpaudit.errors import EnvironmentFailure, UnsafeInput, UsageError
from sharpaudit.report.markdown import markdown
from sharpaudit.signatures import MAX_KEY_BYTES, MAX_SIGNATURE_BYTES, read_keys
from tests.cli.conftest import DEMO, Command
from tests.seed import SEED

pytest.importorskip("model_signing", reason="needs the extra sharpaudit[signing]")

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from safetensors.numpy import load_file, save_file

POLICY = "schema: sharpaudit.policy/1\nrules: [{metric: clean.accuracy, min: 0.5}]\n"
BASELINE, SAM = DEMO / "baseline-seed0.safetensors", DEMO / "sam-seed0.safetensors"
PRIVATE, PUBLIC = serialization.PrivateFormat.PKCS8, serialization.PublicFormat.SubjectPublicKeyInfo
PEM, OPEN = serialization.Encoding.PEM, serialization.NoEncryption()


def pair(folder: Path, name: str, key: Any = None, lock: Any = OPEN) -> Path:
    """A new pair of keys, `name` and `name`.pub."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    (folder / name).write_bytes(key.private_bytes(PEM, PRIVATE, lock))
    (folder / f"{name}.pub").write_bytes(key.public_key().public_bytes(PEM, PUBLIC))
    return folder / name


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the runs ``a`` and ``b``, both signed, and the keys ``ours`` and ``theirs``."""
    print("SHARPAUDIT_TEST_SEED =", SEED)
    folder = tmp_path_factory.mktemp("signed")
    ours = pair(folder, "ours")
    pair(folder, "theirs")
    for name, checkpoint in (("a", BASELINE), ("b", SAM)):
        store.save_run(folder / name, sharpaudit.measure(checkpoint, "digits", probes="accuracy", limit=40))
        store.sign_run(folder / name, ours)
    return folder


@pytest.fixture
def signed(made: Path, tmp_path: Path) -> Path:
    """A copy of it to spoil, with a policy."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    (tmp_path / "policy.yaml").write_text(POLICY)
    return tmp_path


def believed(signature: bytes, run: Path, key: Path) -> bool:
    """Whether `key` signed the card and the predictions of `run`, by the written formats alone."""
    try:
        bundle = json.loads(signature)
        envelope, public = bundle["dsseEnvelope"], serialization.load_pem_public_key(key.read_bytes())
        assert isinstance(public, ec.EllipticCurvePublicKey)
        kind, payload = envelope["payloadType"], base64.b64decode(envelope["payload"])
        sig = base64.b64decode(envelope["signatures"][0]["sig"])  # what follows the padding is not read, and says nothing
        message = b"DSSEv1 %d %s %d %s" % (len(kind), kind.encode(), len(payload), payload)
        public.verify(sig, message, ec.ECDSA(hashes.SHA256()))
        listed = {each["name"]: each["digest"] for each in json.loads(payload)["predicate"]["resources"]}
    except (InvalidSignature, ValueError, LookupError, TypeError, AttributeError):
        return False
    names = ("report.json", "predictions.safetensors")
    return listed == {name: hashlib.sha256((run / name).read_bytes()).hexdigest() for name in names if (run / name).exists()}


def accepted(run: Path, keys: Path) -> bool:
    try:
        store.load_run(run, read_keys(keys))
    except UnsafeInput as error:
        assert error.hint
        return False
    return True


def resealed(run: Path, change: Callable[[Any], None]) -> None:
    """Change the card as someone does who can compute its digest."""
    card = json.loads((run / "report.json").read_text())
    change(card)
    card.pop("digest")
    (run / "report.json").write_text(codec.encode(Card.model_validate(card)))
    store.load_run(run)


def test_a_signed_run_passes_and_the_gate_says_who_signed(signed: Path, run: Command) -> None:
    found = run("gate", "a", "--policy", "policy.yaml", "--baseline", "b", "--trusted-keys", "ours.pub")
    assert found.code == 0
    assert "the run is signed with ours.pub (SHA-256 " in found.out
    assert "the baseline is signed with ours.pub" in found.out
    assert "signed" not in run("gate", "a", "--policy", "policy.yaml").out
    assert believed((signed / "a" / "report.sig").read_bytes(), signed / "a", signed / "ours.pub")


def test_the_packages_own_tool_verifies_what_we_sign(signed: Path) -> None:
    files = ["--signature", "a/report.sig", "--public_key", "ours.pub", "--ignore_unsigned_files"]
    command = [sys.executable, "-m", "model_signing", "verify", "key", "a", *files]
    assert "succeeded" in subprocess.run(command, cwd=signed, check=True, capture_output=True, text=True).stdout


def test_signing_again_replaces_the_signature(signed: Path, run: Command) -> None:
    found = run("sign", "a", "--key", "theirs")
    assert found.code == 0
    assert found.out.startswith("a/report.sig: signed with the key of SHA-256 ")
    assert accepted(signed / "a", signed / "theirs.pub")
    assert not accepted(signed / "a", signed / "ours.pub")


def _another_value(card: Any) -> None:
    card["reading"] = ["All is well."]


SPOILED: dict[str, tuple[Callable[[Path], object], str]] = {
    "another key": (lambda f: store.sign_run(f / "a", f / "theirs"), "signed with a key that is not ours.pub"),
    "no signature": (lambda f: (f / "a" / "report.sig").unlink(), "the run is not signed"),
    "an edited card": (lambda f: resealed(f / "a", _another_value), "report.json was changed since"),
    "a space in the card": (lambda f: _append(f / "a" / "report.json", b" "), "report.json was changed since"),
    "edited predictions": (lambda f: _append(f / "a" / "predictions.safetensors", b"x"), "predictions.safetensors was changed"),
    "no predictions": (lambda f: (f / "a" / "predictions.safetensors").unlink(), "predictions.safetensors is missing"),
    "the signature of another run": (lambda f: shutil.copy(f / "b/report.sig", f / "a/report.sig"), "is another run's"),
    "the card of another run": (lambda f: shutil.copy(f / "b/report.json", f / "a/report.json"), "is another run's"),
}


def _append(path: Path, data: bytes) -> None:
    path.write_bytes(path.read_bytes() + data)


@pytest.mark.parametrize("name", SPOILED)
def test_what_was_not_signed_is_refused_for_safety(name: str, signed: Path, run: Command) -> None:
    spoil, words = SPOILED[name]
    spoil(signed)
    found = run("gate", "b", "a", "--policy", "policy.yaml", "--trusted-keys", "ours.pub")
    assert (found.code, found.out) == (4, "")
    assert words in found.err
    assert "sharpaudit sign RUN --key KEY" in found.err
    assert not believed((signed / "b/report.sig").read_bytes(), signed / "a", signed / "ours.pub")


def test_an_unsigned_baseline_is_refused_too(signed: Path, run: Command) -> None:
    (signed / "b" / "report.sig").unlink()
    found = run("gate", "a", "--policy", "policy.yaml", "--baseline", "b", "--trusted-keys", "ours.pub")
    assert found.code == 4
    assert "the run is not signed - b/report.sig" in found.err


def test_a_card_alone_and_a_checkpoint_are_not_signed(signed: Path, run: Command) -> None:
    shutil.copy(signed / "a" / "report.json", signed / "kept.json")
    found = run("gate", "kept.json", "--policy", "policy.yaml", "--trusted-keys", "ours.pub")
    assert found.code == 4
    assert "a card out of its run folder has no signature" in found.err
    assert run("gate", "a/report.json", "--policy", "policy.yaml", "--trusted-keys", "ours.pub").code == 0
    assert "cannot be signed" in run("sign", "kept.json", "--key", "ours").err
    found = run("gate", SAM, "--data", "digits", "--policy", "policy.yaml", "--trusted-keys", "ours.pub")
    assert found.code == 2
    assert "nobody has signed an audit that is still to be made" in found.err
    assert not (signed / "sharpaudit-runs").exists()


HOSTILE: dict[str, bytes] = {
    "empty": b"",
    "a list": b"[]",
    "no fields": b"{}",
    "deep": b'{"a":' * 10_000,
    "deep lists": b'{"verificationMaterial":' + b"[" * 100_000,
    "huge": b" " * (MAX_SIGNATURE_BYTES + 1),
    "a certificate": b'{"verificationMaterial": {"certificate": {"rawBytes": "AAAA"}}}',
    "no hint": b'{"verificationMaterial": {"publicKey": {}}}',
    "a list for a key": b'{"verificationMaterial": {"publicKey": []}}',
    "a key twice": b'{"verificationMaterial": {}, "verificationMaterial": {}}',
    "not UTF-8": b"\xff\xfe",
    "a long number": b'{"verificationMaterial": ' + b"9" * 5000 + b"}",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_signatures_are_refused(name: str, signed: Path) -> None:
    (signed / "a" / "report.sig").write_bytes(HOSTILE[name])
    assert not accepted(signed / "a", signed / "ours.pub")


def test_what_is_no_file_is_no_signature(signed: Path) -> None:
    place = signed / "a" / "report.sig"
    makers: list[Callable[[Path], object]] = [os.mkfifo, Path.mkdir, *(lambda p, to=to: p.symlink_to(to) for to in ("x", place))]
    place.unlink()
    for make in makers:
        make(place)
        assert not accepted(signed / "a", signed / "ours.pub")
        place.rmdir() if place.is_dir() else place.unlink()


def mutations(data: bytes, chance: random.Random, count: int) -> list[bytes]:
    """Spoiled signatures: bytes flipped, cut and repeated, and values of the document and of what it signs replaced."""
    made = []
    for _ in range(count):
        i, j = sorted(chance.randrange(len(data)) for _ in range(2))
        document = json.loads(data)
        envelope = document["dsseEnvelope"]
        payload = json.loads(base64.b64decode(envelope["payload"]))
        foreign = chance.choice([None, [], {}, "", "x", 0, -1, True, [None], {"sha256": "00"}, "A" * 1000, 1e300])
        place, key = chance.choice(
            [
                (document, chance.choice(list(document))),
                (document["verificationMaterial"], chance.choice(["publicKey", "tlogEntries", "certificate"])),
                (document["verificationMaterial"]["publicKey"], "hint"),
                (envelope, chance.choice(list(envelope))),
                (envelope["signatures"][0], chance.choice(["sig", "keyid"])),
                (payload, chance.choice(list(payload))),
                (payload["predicate"], chance.choice(["resources", "serialization"])),
                (chance.choice(payload["predicate"]["resources"]), chance.choice(["name", "digest", "algorithm"])),
            ]
        )
        place[key] = foreign
        if place not in (document, envelope):
            envelope["payload"] = base64.b64encode(json.dumps(payload).encode()).decode()
        flipped = data[:i] + bytes([data[i] ^ 1 << chance.randrange(8)]) + data[i + 1 :]
        made.append(chance.choice([flipped, data[:i], data[:i] + data[j:], data[:j] + data[i:], json.dumps(document).encode()]))
    return made


def compare_with_the_oracle(signed: Path, count: int) -> int:
    """How many of the spoiled signatures are still ones, because what was spoiled says nothing."""
    place, harmless = signed / "a" / "report.sig", 0
    original = place.read_bytes()
    for spoiled in mutations(original, random.Random(SEED), count):
        place.write_bytes(spoiled)
        ours = accepted(signed / "a", signed / "ours.pub")
        assert not ours or believed(spoiled, signed / "a", signed / "ours.pub"), spoiled
        harmless += ours
    return harmless


def test_spoiled_signatures_are_believed_only_where_the_oracle_does(signed: Path) -> None:
    assert compare_with_the_oracle(signed, 100) < 50


@pytest.mark.slow
def test_many_spoiled_signatures_are_believed_only_where_the_oracle_does(signed: Path) -> None:
    assert compare_with_the_oracle(signed, 10_000) < 5000


def test_a_folder_of_keys(signed: Path, run: Command) -> None:
    keys = signed / "keys"
    keys.mkdir()
    found = run("gate", "a", "--policy", "policy.yaml", "--trusted-keys", keys)
    assert found.code == 2
    assert "expected 1 to 1,000 public keys, got 0 files" in found.err
    (keys / ".gitignore").write_text("*\n")
    shutil.copy(signed / "theirs.pub", keys)
    found = run("gate", "a", "--policy", "policy.yaml", "--trusted-keys", keys)
    assert (found.code, "not theirs.pub" in found.err) == (4, True)
    shutil.copy(signed / "ours.pub", keys)
    assert accepted(signed / "a", keys)
    pair(signed, "third")
    store.sign_run(signed / "a", signed / "third")
    with pytest.raises(UnsafeInput, match="none of the 2 trusted ones"):
        store.load_run(signed / "a", read_keys(keys))
    shutil.copy(signed / "ours", keys)
    found = run("gate", "a", "--policy", "policy.yaml", "--trusted-keys", keys)
    assert (found.code, "a private key, and no secret is needed" in found.err) == (2, True)


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()])
def test_each_curve_signs(signed: Path, curve: ec.EllipticCurve) -> None:
    store.sign_run(signed / "a", pair(signed, "new", ec.generate_private_key(curve)))
    assert accepted(signed / "a", signed / "new.pub")


def test_keys_that_cannot_be_used(signed: Path) -> None:
    locked = serialization.BestAvailableEncryption(b"secret")
    pair(signed, "rsa", rsa.generate_private_key(65537, 2048))
    pair(signed, "bitcoin", ec.generate_private_key(ec.SECP256K1()))
    pair(signed, "locked", lock=locked)
    (signed / "text").write_text("ssh-ed25519 AAAA\n")
    (signed / "large").write_bytes(b"-" * (MAX_KEY_BYTES + 1))
    os.mkfifo(signed / "pipe")
    for name, error, words in (
        ("ours", UsageError, "a private key, and no secret is needed to verify"),
        ("rsa.pub", UsageError, "expected a key on P-256, P-384 or P-521, got RSAPublicKey"),
        ("bitcoin.pub", UsageError, "got secp256k1"),
        ("text", UsageError, "not a public key in PEM"),
        ("large", UsageError, "cannot read the key: 16,385 bytes are more"),
        ("nowhere", UsageError, "cannot read the key: No such file"),
        ("pipe", UnsafeInput, "not a regular file"),
        ("a", UsageError, "not a public key in PEM"),
    ):
        with pytest.raises(error, match=words):
            read_keys(signed / name)
    for name, error, words in (
        ("ours.pub", UsageError, "a public key: signing takes the private one"),
        ("rsa", UsageError, "got RSAPrivateKey"),
        ("locked", UsageError, "the private key is encrypted"),
        ("text", UsageError, "not a private key in PEM"),
        ("pipe", UnsafeInput, "not a regular file"),
    ):
        with pytest.raises(error, match=words):
            store.sign_run(signed / "a", signed / name)
    assert accepted(signed / "a", signed / "ours.pub"), "a signature that could not be made leaves the old one"


def signed_by_the_package(model: Path, key: Path, place: Path) -> None:
    from model_signing import hashing, signing

    config = hashing.Config().set_ignored_paths(paths=["model.sig"])
    signing.Config().use_elliptic_key_signer(private_key=key).set_hashing_config(config).sign(model, place)


def audited(checkpoint: Path, keys: Path | None) -> Any:
    net = "zoo:digits_cnn"
    return sharpaudit.measure(checkpoint, "digits", architecture=net, probes="accuracy", limit=20, trusted_keys=keys).card


def test_the_signature_of_a_checkpoint_stands_on_its_card(signed: Path) -> None:
    (signed / "model").mkdir()
    model = Path(shutil.copy(BASELINE, signed / "model"))
    with pytest.raises(UnsafeInput, match="the checkpoint is not signed"):
        audited(model, signed / "ours.pub")
    assert audited(model, None).subject.signature is None
    for what in (model, model.parent):
        signed_by_the_package(what, signed / "ours", model.parent / "model.sig")
        for given in (model, model.parent):
            card = audited(given, signed / "ours.pub")
            assert card.subject.signature.key == read_keys(signed / "ours.pub")[0].fingerprint
            assert "model.sig, verified with the trusted key of SHA-256" in markdown(card)
    card = audited(model, None)
    assert not card.subject.signature.verified
    assert "model.sig lies beside it and was not verified" in markdown(card)
    with pytest.raises(UnsafeInput, match="signed with a key that is not theirs"):
        audited(model, signed / "theirs.pub")
    shutil.copy(SAM, model)
    with pytest.raises(UnsafeInput, match=r"'baseline-seed0.safetensors' is not what ours.pub"):
        audited(model, signed / "ours.pub")


def test_every_file_of_a_folder_that_was_read_is_signed(signed: Path) -> None:
    folder = signed / "model"
    folder.mkdir()
    save_file(load_file(BASELINE), folder / "model.safetensors")  # without the metadata, which would stand in for config.json
    signed_by_the_package(folder, signed / "ours", folder / "model.sig")
    assert audited(folder, signed / "ours.pub").subject.signature.verified
    (folder / "notes.txt").write_text("not read, so nothing depends on it\n")
    assert audited(folder, signed / "ours.pub").subject.signature.verified
    (folder / "config.json").write_text("{}")
    with pytest.raises(UnsafeInput, match=r"'config.json' is not what ours.pub .* signed: it was changed since, or added"):
        audited(folder, signed / "ours.pub")
    signed_by_the_package(folder / "model.safetensors", signed / "ours", folder / "model.sig")
    with pytest.raises(UnsafeInput, match="is not what"):
        audited(folder, signed / "ours.pub")


def test_the_flag_of_measure(signed: Path, run: Command) -> None:
    shutil.copy(BASELINE, signed / "net.safetensors")
    arguments = ("measure", "net.safetensors", "--data", "digits", "--probes", "accuracy", "--limit", "20", "-o", "run")
    found = run(*arguments, "--trusted-keys", "ours.pub")
    assert found.code == 4
    assert "the checkpoint is not signed - model.sig - `model_signing sign key`" in found.err
    signed_by_the_package(signed / "net.safetensors", signed / "ours", signed / "model.sig")
    assert run(*arguments, "--trusted-keys", "ours.pub").code == 0
    card = json.loads((signed / "run" / "report.json").read_text())
    assert card["subject"]["signature"]["verified"] is True
    assert "trusted_keys" not in card["config"]
    parts = {path: path.stat().st_mtime_ns for path in (signed / "run" / "parts").iterdir()}
    assert run(*arguments).code == 0
    again = {path: path.stat().st_mtime_ns for path in (signed / "run" / "parts").iterdir()}
    assert again == parts, "who signed it decides no number"


def test_without_the_package_one_line_says_what_to_install(signed: Path, run: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("cryptography", "cryptography.exceptions", "model_signing"):
        monkeypatch.setitem(sys.modules, name, None)
    for arguments in (("sign", "a", "--key", "ours"), ("gate", "a", "--policy", "policy.yaml", "--trusted-keys", "ours.pub")):
        found = run(*arguments)
        assert found.code == EnvironmentFailure.exit_code
        assert found.err.count("\n") == 1
        assert "pip install 'sharpaudit[signing]'" in found.err
    assert run("gate", "a", "--policy", "policy.yaml").code == 0
