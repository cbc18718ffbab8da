"""Checkpoints whose weights fit the network that they describe, which is small but for one option, one number or one text.

What differs is drawn from the parameters of the network's class, so that a new version of timm brings new cases.
"""

from __future__ import annotations

import inspect
import json
import math
import random
from pathlib import Path
from typing import Any

from tests.checkpoints.hostile import entry, safetensors

TINY: dict[str, Any] = {"depth": 2, "embed_dim": 48, "num_heads": 3}
NETWORKS: dict[str, dict[str, Any]] = {
    **{name: {"embed_dim": 24} for name in ("swin_tiny_patch4_window7_224", "swinv2_tiny_window8_256", "swinv2_cr_tiny_224")},
    **{name: TINY for name in ("vit_tiny_patch16_224", "beit_base_patch16_224", "eva02_tiny_patch14_224", "convit_tiny")},
    **{
        name: TINY
        for name in ("cait_xxs24_224", "samvit_base_patch16_224", "deit_tiny_patch16_224", "vit_relpos_small_patch16_224")
    },
    **{
        name: {}
        for name in (
            *(
                "test_mambaout",
                "test_nfnet",
                "test_efficientnet_gn",
                "test_resnet",
                "test_convnext",
                "test_byobnet",
                "test_coatnet",
            ),
            *(
                "starnet_s050",
                "mobilevit_xxs",
                "edgenext_xx_small",
                "lcnet_035",
                "dla46x_c",
                "repghostnet_050",
                "efficientvit_m0",
            ),
            *("ese_vovnet19b_slim_dw", "ghostnet_050", "regnetx_002", "xcit_nano_12_p16_224", "efficientvit_b0", "pvt_v2_b0"),
            *("efficientformerv2_s0", "fastvit_t8", "inception_next_atto", "rexnet_100", "levit_128s", "coat_lite_tiny"),
            *("tiny_vit_5m_224", "hardcorenas_b", "swiftformer_xs", "fasternet_t0", "repvit_m1", "shvit_s1"),
        )
    },
}
USUAL = ("img_size", "in_chans", "num_classes", "output_stride", "drop_path_rate", "global_pool", "window_size", "patch_size")
VALUES = (
    *(0, 1, 2, -1, -5, 14, 100, 300, 1000, 4096, 5000, 20_000, 99_999, 100_000, 0.5, 1e-30, 1e5, True, False),
    *("", "none", "abc", "1x100000", "../../etc", "a" * 1000, "nan", "inf", "1e9", "token", "avg", "9" * 30),
)
SIDES = (1, 8, 224, 4096)
"""Of the images that are stated."""


def write(folder: Path, rng: random.Random) -> Path:
    """A folder as timm writes it, or one file with metadata."""
    import timm
    import torch

    name = rng.choice(sorted(NETWORKS))
    usual = {**NETWORKS[name], "num_classes": 10}
    with torch.device("meta"):
        network = timm.create_model(name, **usual)
    taken = [*inspect.signature(type(network).__init__).parameters, *USUAL]
    odd = {rng.choice(taken): rng.choice(VALUES) for _ in range(rng.choice((0, 1, 1, 1, 2)))}
    side = rng.choice(SIDES)
    size = [rng.choice((3, 3, 3, 1, 4096)), side, rng.choice((side, side, 4096))]
    preprocessing = {"mean": [0.5], "std": [0.5], **({"input_size": size} if rng.randrange(3) == 0 else {})}
    arguments = {**usual, **odd}
    path = folder / "model.safetensors"
    header: dict[str, Any] = {}
    position = 0
    for key, tensor in network.state_dict().items():
        stop = position + 2 * math.prod(tensor.shape)
        header[key] = entry(position, stop, list(tensor.shape), "F16")
        position = stop
    if rng.randrange(2):
        query = "&".join(f"{key}={value}" for key, value in arguments.items())
        header["__metadata__"] = {
            "sharpaudit.architecture": f"timm:{name}?{query}",
            "sharpaudit.preprocessing": json.dumps(preprocessing),
        }
        path.write_bytes(safetensors(header, bytes(position)))
        return path
    path.write_bytes(safetensors(header, bytes(position)))
    (folder / "config.json").write_text(
        json.dumps({"architecture": name, "model_args": arguments, "pretrained_cfg": preprocessing})
    )
    return folder
