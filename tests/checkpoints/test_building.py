"""A network is built on the options of a file only if that takes no more than any network does."""

from __future__ import annotations

import sys

import pytest
from torch import nn

from sharpaudit.checkpoints.architectures import REFUSALS, parse, stated
from sharpaudit.checkpoints.building import bounded
from sharpaudit.errors import ArchitectureError


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("vit_tiny_patch16_224?depth=90000&embed_dim=12&num_heads=1", "more than 100,000 calls of torch by its builder"),
        ("swin_tiny_patch4_window7_224?img_size=8000", "more than 134,217,728 bytes in one tensor that its builder makes"),
        ("swin_tiny_patch4_window7_224?img_size=20000", "more than 4,294,967,296 bytes made by its builder"),
        ("beit_base_patch16_224?img_size=800", "bytes (in its buffers|made by its builder|in one tensor)"),
        ("cspnext_l?deepen_factor=5000", "more than 5,000 parameters"),
    ],
)
def test_options_cannot_ask_for_more_work_than_any_network_is(spec: str, words: str) -> None:
    with pytest.raises(REFUSALS, match=words):
        parse(f"timm:{spec}").outline()


@pytest.mark.parametrize("spec", ["timm:resnet18?pretrained=true", "local-dir:/tmp", "resnet18"])
def test_what_a_file_may_not_name(spec: str) -> None:
    with pytest.raises(ArchitectureError, match=r"^error\[architecture\]: metadata: ") as caught:
        stated(spec, "metadata")
    assert caught.value.exit_code == 3


def test_a_loop_of_a_builder_ends() -> None:
    def build() -> nn.Module:
        while True:
            pass

    with pytest.raises(ValueError, match="more than 7,000,000 lines run by its builder"):
        bounded(build, loops=True)
    assert sys.gettrace() is None or "coverage" in repr(sys.gettrace())


def test_what_a_network_of_timm_takes_is_allowed() -> None:
    for name in ("resnetrs420", "vitamin_xlarge_336", "swin_large_patch4_window12_384", "tf_efficientnet_l2"):
        parse(f"timm:{name}?drop_rate=0.1").outline(num_classes=10)
