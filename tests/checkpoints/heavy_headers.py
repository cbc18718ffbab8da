"""Headers of safetensors, folders, and what stands beside the weights, of an odd form or with arguments that no network has."""

from __future__ import annotations

import json
import os
import pickle
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.checkpoints.hostile import entry, safetensors, saved, touch, weights

Random = random.Random

# Headers


def lying_places(rng: Random) -> bytes:
    """Tensors that overlap, leave holes, go backwards, are empty, or begin anywhere."""
    header: dict[str, Any] = {}
    position = 0
    for n in range(rng.choice((3, 3000))):
        size = 4 * rng.randrange(3)
        position += rng.choice((0, 0, 0, 1, -4, 2)) if rng.randrange(50) == 0 else 0
        header[f"w{n}"] = entry(position, position + size)
        position += size
    items = list(header.items())
    rng.shuffle(items)
    return safetensors(dict(items), bytes(max(0, position + rng.choice((0, 0, 0, 1, -1)))))


def narrow_types(rng: Random) -> bytes:
    code = rng.choice(
        (
            *("F8_E4M3", "F8_E5M2", "F4", "F6_E2M3", "F8_E8M0", "I4", "U4", "BOOL", "U64", "U32", "U16", "C64", "F64"),
            *("f32", "", "\x1b[31m", "x" * 10**6, "F32 "),
        )
    )
    shape = rng.choice(([8], [16], [3], [], [0], [2, 2, 2]))
    return safetensors({"w": {"dtype": code, "shape": shape, "data_offsets": [0, 8]}}, bytes(8))


def fields_odd(rng: Random) -> bytes:
    field: dict[str, Any] = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    odd: list[Any] = [
        *(None, True, -1, 1.5, 1e308, "x", [], {}, [[2]], [2.0], [True], [2**63], [10**30], ["2"], [0, 8.0], [-8, 0]),
        *([8, 0], [0, 2**63], [None, None]),
    ]
    field[rng.choice(("dtype", "shape", "data_offsets", "extra"))] = rng.choice(odd)
    if rng.randrange(4) == 0:
        del field[rng.choice(list(field))]
    return safetensors(
        rng.choice(({"w": field}, {"w": rng.choice(odd)}, {"__metadata__": rng.choice(odd), "w": field})), bytes(8)
    )


def keys_twice(rng: Random) -> bytes:
    one = json.dumps(entry(0, 8))
    key = rng.choice(('"w"', '"__metadata__"', '"dtype"', '"\\u0077"', '"sharpaudit.architecture"'))
    text = rng.choice(('{%s:{},%s:{},"w":ONE}', '{"w":ONE,%s:ONE}', '{"__metadata__":{%s:"a",%s:"b"},"w":ONE}'))
    return safetensors((text.replace("%s", key).replace("ONE", one) * 1).encode(), bytes(8))


def lengths(rng: Random) -> bytes:
    return safetensors({"w": entry(0, 8)}, bytes(8), rng.choice((0, 1, 2, 8, 2**16, 2**32, 2**63, 2**64 - 1, 16 * 2**20 + 1)))


SPECS = (
    *("timm:resnet18?depth=1", "timm:../../x", "torchvision:resnet18?weights=DEFAULT"),
    *("torchvision:vgg11?init_weights=1e9", "zoo:x", "mlp(" + "9-" * 10**5 + "1)", "seq(" * 10**4, "/tmp/x.py:make"),
    *("timm:" + "x" * 10**6, "timm:hf-hub:evil/x", "timm:local-dir:/etc", "\x1b[31m", "timm:resnet18?pretrained=True"),
    *("timm:resnet18?checkpoint_path=/etc/passwd", "mlp(99999999-99999999)", "mlp(1-2, evil)"),
    *("torchvision:vit_b_16?image_size=99999", "timm:vit_tiny_patch16_224?" + "&".join(f"a{n}=1" for n in range(10_000))),
)


def stated(rng: Random) -> bytes:
    """Metadata of ours that state what cannot be."""
    odd = (
        *("NaN", "-1", "1e999", "[" * 5000, "x" * 10**6, '"' * 1000, "null", "{}", "[[1]]", "[1e400]"),
        *("\ud800".encode("utf-8", "surrogatepass").decode("latin-1"), "true", '{"mean":[NaN]}'),
    )
    keys = (
        *("sharpaudit.architecture", "sharpaudit.classes", "sharpaudit.preprocessing", "sharpaudit.num_classes"),
        *("sharpaudit.x", "format"),
    )
    metadata = {key: rng.choice(odd) for key in rng.sample(keys, rng.randrange(1, 4))}
    if rng.randrange(2):
        metadata["sharpaudit.architecture"] = rng.choice(SPECS)
    if rng.randrange(2):
        values = [rng.choice((0.5, 0, -1, 1e-320, 1e308, 10**400, None, "x", True, [1]))] * rng.choice((0, 1, 3, 10_000))
        metadata["sharpaudit.preprocessing"] = json.dumps(
            {
                rng.choice(("mean", "std", "input_size", "interpolation", "crop_pct", "x")): rng.choice(
                    (values, 0.5, "x", [1, 8, 8])
                )
            }
        )
    return safetensors(
        {"__metadata__": metadata, "fc.weight": entry(0, 2560, [10, 64]), "fc.bias": entry(2560, 2600)}, bytes(2600)
    )


HEADERS = (lying_places, narrow_types, fields_odd, keys_twice, lengths, stated)

# Folders


def _small(folder: Path, name: str = "model.safetensors") -> None:
    (folder / name).write_bytes(safetensors({"fc.weight": entry(0, 2560, [10, 64]), "fc.bias": entry(2560, 2600)}, bytes(2600)))


def shards(folder: Path, rng: Random) -> Path:
    """An index that goes round, outside, to a thousand shards, to nothing, or says other things than its shards."""
    names = rng.choice(
        (
            *(["model.safetensors.index.json"], ["../x.safetensors"], ["/etc/passwd"], ["a.safetensors"] * 3),
            *([f"s{n}.safetensors" for n in range(1000)], ["\x1b[31m"], [""], ["CON"], ["a\\b"], ["x" * 300], [1]),
            *([None], ["a.safetensors", "A.SAFETENSORS"]),
        )
    )
    for name in {"a.safetensors", *(name for name in names if isinstance(name, str) and name.startswith("s"))}:
        (folder / name).write_bytes(safetensors({f"{rng.choice(('w', name))}": entry(0, 8)}, bytes(8)))
    if rng.randrange(3) == 0:
        (folder / "loop.safetensors").symlink_to(rng.choice(("loop.safetensors", "/dev/zero", "/etc/passwd", "nowhere", ".")))
        names = [*names, "loop.safetensors"]
    if rng.randrange(6) == 0:
        os.mkfifo(folder / "pipe.safetensors")
        names = ["pipe.safetensors"]
    document: dict[str, Any] = {
        "weight_map": {f"w{n}": name for n, name in enumerate(names)},
        "metadata": rng.choice(({}, {"total_size": rng.choice((8, -1, 10**400, "8", None, 1.5))}, [], None)),
    }
    (folder / "model.safetensors.index.json").write_text(
        json.dumps(rng.choice((document, document, document, {"weight_map": []}, [], {"weight_map": {"w": ["a"]}})))
    )
    return folder


def mixed_folder(folder: Path, rng: Random) -> Path:
    """Several checkpoints, code and links side by side."""
    for name in rng.sample(
        (
            *("model.safetensors", "pytorch_model.bin", "model.pth", "weights.pt", "x.ckpt"),
            *("model.safetensors.index.json", "config.json", "preprocessor_config.json", "model.sig", "modeling_x.py"),
            "saved_model.pb",
        ),
        rng.randrange(1, 6),
    ):
        content = rng.choice(
            (
                *(saved(weights()), pickle.dumps(touch(folder / "ran")), safetensors({"w": entry(0, 8)}, bytes(8)), b""),
                *(b"{}", b"\0" * 100, b"[" * 10**5),
            )
        )
        match rng.randrange(5):
            case 0:
                (folder / name).symlink_to(rng.choice(("/dev/zero", "/etc/passwd", name, "..")))
            case 1:
                (folder / name).mkdir()
            case _:
                (folder / name).write_bytes(content)
    return folder


ODD_VALUES: tuple[Any, ...] = (
    *(
        *([1, 2, 3], [0] * 100_000, [[1]], {}, {"a": 1}, -1, 0, 1, 1.5, -1e308, 10**300, float("nan"), float("inf")),
        *(True, None, "", "x" * 10**6),
    ),
    *(
        *("../../etc/passwd", "nan", "None", "\x1b[31m", "__import__('os').system('x')", "lambda: 0", "9" * 1000, "1e5"),
        *("[1,2]", 64, 4096, 99_999),
    ),
)


def builder_arguments(folder: Path, rng: Random) -> Path:
    """A config.json whose arguments of the builder are lists, tables, negative, not numbers, or a million characters."""
    import timm

    name = rng.choice(
        (
            *timm.list_models("*test*"),
            "resnet18",
            "vit_tiny_patch16_224",
            "convnext_atto",
            "mixer_s32_224",
            "densenet121",
            "regnetx_002",
        )
    )
    arguments = (
        *("block_args", "layers", "channels", "depths", "dims", "num_classes", "in_chans", "global_pool", "drop_rate"),
        *("act_layer", "norm_layer", "img_size", "pretrained", "checkpoint_path", "cache_dir", "pretrained_cfg"),
        *("pretrained_cfg_overlay", "features_only", "scriptable", "exportable", "no_jit", "out_indices", "stem_type"),
        *("width", "depth", "strict", "x" * 1000, "a b", "&x=1"),
    )
    options = {rng.choice(arguments): rng.choice(ODD_VALUES) for _ in range(rng.randrange(1, 4))}
    config: dict[str, Any] = {"architecture": name, "model_args": options, "num_classes": rng.choice((10, 10, *ODD_VALUES))}
    if rng.randrange(2):
        config["pretrained_cfg"] = {
            key: rng.choice(ODD_VALUES)
            for key in ("mean", "std", "input_size", "crop_pct", "interpolation", "classifier", "first_conv")
            if rng.randrange(2)
        }
    (folder / "config.json").write_text(json.dumps(config))
    if rng.randrange(2):
        keys = ("image_mean", "image_std", "size", "crop_size", "do_normalize", "do_center_crop", "resample", "rescale_factor")
        (folder / "preprocessor_config.json").write_text(
            json.dumps({key: rng.choice(ODD_VALUES) for key in keys if rng.randrange(2)})
        )
    _small(folder)
    return folder


def named_builders(folder: Path, rng: Random) -> Path:
    """Weights that name their network in the metadata, with options of timm, torchvision and the zoo that it has or has not."""
    source = rng.choice(
        (
            *("timm:resnet18", "timm:test_vit", "torchvision:resnet18", "torchvision:mobilenet_v2"),
            *("torchvision:vit_b_16", "torchvision:densenet121", "torchvision:squeezenet1_0", "torchvision:inception_v3"),
            "zoo:resnet20",
        )
    )
    options = (
        *("num_classes", "width_per_group", "groups", "zero_init_residual", "norm_layer", "weights", "progress"),
        *("width_mult", "inverted_residual_setting", "round_nearest", "image_size", "patch_size", "growth_rate"),
        *("block_config", "dropout", "aux_logits", "transform_input", "init_weights", "replace_stride_with_dilation"),
        "block",
    )
    values = ("0", "-1", "99999", "1e9", "nan", "None", "True", "[1,2]", "x" * 1000, "../x", "DEFAULT", "9" * 5000, "10", "inf")
    query = "&".join(f"{rng.choice(options)}={rng.choice(values)}" for _ in range(rng.randrange(1, 4)))
    (folder / "model.safetensors").write_bytes(
        safetensors(
            {
                "__metadata__": {"sharpaudit.architecture": f"{source}?{query}"},
                "fc.weight": entry(0, 2560, [10, 64]),
                "fc.bias": entry(2560, 2600),
            },
            bytes(2600),
        )
    )
    return folder / "model.safetensors"


FOLDERS: tuple[Callable[[Path, Random], Path], ...] = (shards, mixed_folder, builder_arguments, named_builders)
