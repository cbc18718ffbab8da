"""What happens to an image before the network sees it, and who decided? Flags, then the file, then the architecture's default."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, NoReturn, TypeGuard, get_args

from sharpaudit.card import Preprocessing
from sharpaudit.errors import ArchitectureError, CheckpointError, UsageError, clean
from sharpaudit.request import Interpolation, PreprocessingOverrides

MAX_SIDE = 4096
"""Of an input, in pixels."""
LEAST_STD, MOST = 1e-6, 1e6
"""Bounds of mean and standard deviation: beyond them float32 pixels are nothing but zeros and infinities."""


@dataclass(frozen=True)
class Defaults:
    """The preprocessing that an architecture was published with."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    input_size: tuple[int, int, int]
    interpolation: str = "bilinear"
    crop_pct: float = 1.0
    source: str = ""


FIELDS = tuple(field.name for field in fields(PreprocessingOverrides))


def resolve(
    overrides: PreprocessingOverrides | None,
    stated: Mapping[str, Any],
    stated_origin: str,
    defaults: Defaults | None,
    settings: Mapping[str, int],
) -> Preprocessing:
    """The preprocessing to use: each field from the first of flags, file and architecture that states it.

    Args:
        overrides: flags.
        stated: fields found in the file's metadata or its ``config.json``.
        stated_origin: how to call that on the card.
        defaults: of the architecture.
        settings: channels and image size that were read from the weights.

    Raises:
        ArchitectureError: a field that nobody states.
        CheckpointError: a value that cannot be.
    """
    flags = {name: getattr(overrides, name) for name in FIELDS if overrides and getattr(overrides, name) is not None}
    default = _adapted(defaults, settings) if defaults else {"interpolation": "bilinear", "crop_pct": 1.0}
    chosen = {**default, **stated, **flags}
    missing = [name for name in FIELDS if name not in chosen]
    if missing:
        hint = "give --mean, --std and --input-size"
        raise ArchitectureError(f"the preprocessing is unknown: nothing states {', '.join(missing)}", hint=hint)
    origins = [(flags, "flags"), (stated, stated_origin), (default, defaults.source if defaults else "default")]
    taken: set[str] = set()
    parts = []
    for names, origin in origins:
        mine = [name for name in FIELDS if name in names and name not in taken]
        taken |= set(mine)
        if mine:
            parts.append(origin if len(mine) == len(FIELDS) else f"{origin}: {', '.join(mine)}")
    return _checked(chosen, "; ".join(parts), flags)


def origin_of(
    field: str,
    overrides: PreprocessingOverrides | None,
    stated: Mapping[str, Any],
    stated_origin: str,
    defaults: Defaults | None,
) -> str:
    """Who decides one field of the preprocessing."""
    if overrides and getattr(overrides, field) is not None:
        return "flags"
    if field in stated:
        return stated_origin
    return defaults.source if defaults else "default"


def assumptions(
    overrides: PreprocessingOverrides | None,
    stated: Mapping[str, Any],
    differing: Mapping[str, tuple[int, int]],
    published: Sequence[Defaults | None],
    *,
    sized: bool,
) -> list[str]:
    """Warnings where nobody states how the images were prepared and the published weights cannot speak for these.

    Args:
        overrides: flags.
        stated: fields found in the file.
        differing: settings of these weights and of the published ones, where they differ.
        published: preprocessing of every architecture that computes this function, the one that is used first.
        sized: whether the weights tell the image size.
    """
    given = {name for name in FIELDS if name in stated or (overrides and getattr(overrides, name) is not None)}
    assumed = [name for name in ("mean", "std", *["input_size"] * (not sized)) if name not in given]
    first, *others = published
    if not assumed or first is None:
        return []
    flags = ", ".join(f"--{name.replace('_', '-')}" for name in assumed)
    told = {"num_classes": "{} classes, not {}", "in_channels": "{} channels, not {}", "image_size": "images of {}, not {}"}
    warnings = []
    if differing.keys() & {"num_classes", "in_channels"}:
        what = ", ".join(told[key].format(*values) for key, values in differing.items())
        warnings.append(
            f"{', '.join(assumed)} assumed as for {first.source}, but these weights have {what}: "
            f"pass {flags} if they were trained otherwise"
        )
    elif another := next((d for d in others if d and any(getattr(d, name) != getattr(first, name) for name in assumed)), None):
        warnings.append(
            f"{', '.join(assumed)} assumed as for {first.source}; {another.source} has others and computes the same function: "
            f"pass {flags} if it was that one"
        )
    return warnings


def is_input_size(size: object) -> TypeGuard[Sequence[int]]:
    """Whether it is (channels, height, width) of images that a network could take."""
    return isinstance(size, list | tuple) and len(size) == 3 and all(type(n) is int and 0 < n <= MAX_SIDE for n in size)


def _adapted(defaults: Defaults, settings: Mapping[str, int]) -> dict[str, Any]:
    """The defaults for the number of channels and the image size of these weights."""
    channels = settings.get("in_channels", defaults.input_size[0])
    size = settings.get("image_size", defaults.input_size[1])
    mean, std = defaults.mean, defaults.std
    if len(mean) != channels:
        mean, std = ((math.fsum(values) / len(values),) * channels for values in (mean, std))
    interpolation = defaults.interpolation if defaults.interpolation in get_args(Interpolation) else "bilinear"
    crop = (channels, size, size) if size != defaults.input_size[1] else (channels, *defaults.input_size[1:])
    return {"mean": mean, "std": std, "input_size": crop, "interpolation": interpolation, "crop_pct": defaults.crop_pct}


def _checked(chosen: Mapping[str, Any], origin: str, flags: Collection[str] = ()) -> Preprocessing:
    def refuse(name: str, expected: str) -> NoReturn:
        value = chosen[name]
        few = not isinstance(value, list | tuple) or len(value) <= 10
        got = clean(str(value)) if few and not isinstance(value, dict) else f"a {type(value).__name__} of {len(value):,}"
        if name in flags:
            raise UsageError(f"--{name.replace('_', '-')}: expected {expected}, got {got}")
        raise CheckpointError(f"{name} must be {expected}, got {got}")

    size = chosen["input_size"]
    if not is_input_size(size):
        refuse("input_size", "(channels, height, width)")
    for name, least in (("mean", -MOST), ("std", LEAST_STD)):
        values = chosen[name]
        numbers = isinstance(values, list | tuple) and all(type(v) in (int, float) and least <= v <= MOST for v in values)
        if not numbers or len(values) not in (1, size[0]):
            refuse(name, f"{size[0]} finite numbers from {least:g} to {MOST:g}")
    interpolation, crop = chosen["interpolation"], chosen["crop_pct"]
    if interpolation not in get_args(Interpolation):
        refuse("interpolation", f"one of {', '.join(get_args(Interpolation))}")
    if not isinstance(crop, int | float) or not 0 < crop <= 1:
        refuse("crop_pct", "above 0 and at most 1")
    mean, std = (list(map(float, chosen[name])) * (size[0] if len(chosen[name]) == 1 else 1) for name in ("mean", "std"))
    return Preprocessing(
        mean=mean, std=std, input_size=list(size), interpolation=interpolation, crop_pct=float(crop), origin=origin
    )
