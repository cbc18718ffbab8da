"""Which measurements may a policy name, which way is better, and which limits could any value ever meet?

The names are those of the card. An installed plug-in measures what is named after it, and may be gated too.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Literal, cast

from sharpaudit.card import Direction


@dataclass(frozen=True)
class Meaning:
    """What is known of a measurement before any card is read."""

    direction: Direction
    low: float = -math.inf
    high: float = math.inf
    """Values lie between these."""
    probe: str = ""
    """Who measures it."""


TABLE = """
accuracy           higher  0    1    clean.accuracy clean.accuracy/class/* clean.worst_class_accuracy clean.train_accuracy
accuracy           lower   0    inf  clean.nll
accuracy           lower   0    2    clean.brier
accuracy           lower   0    1    clean.class_gap
accuracy           lower   -1   1    clean.generalisation_gap
calibration        lower   0    1    calibration.ece calibration.adaptive_ece calibration.classwise_ece calibration.mce
calibration        lower   0    1    calibration.ks calibration.smooth_ece calibration.ece_after_temperature
calibration        lower   -1   1    calibration.ece_debiased
calibration        lower   0    inf  calibration.nll_after_temperature
calibration        none    0    1    calibration.ece_floor
calibration        none    0    inf  calibration.temperature
corruption         higher  0    1    corruption.accuracy corruption.accuracy_standard15
corruption         higher  0    1    corruption.accuracy/* corruption.accuracy/*/*
corruption         lower   0    1    corruption.ece corruption.flip_rate
corruption         lower   0    inf  corruption.mce corruption.nll
disagreement       lower   0    1    disagreement.rate disagreement.rate/corruption disagreement.negative_flips
disagreement       higher  0    1    disagreement.positive_flips
disagreement       lower   0    0.7  disagreement.js_divergence
disagreement       lower   0    1.5  disagreement.softmax_l2
disagreement       none    -1   1    disagreement.error_consistency
spectrum           none    -inf inf  sharpness.lambda_max sharpness.lambda_min sharpness.lambda_ratio_1_5
spectrum           none    -inf inf  sharpness.trace sharpness.logdet_damped
spectrum           none    0    inf  sharpness.trace_ggn sharpness.frobenius sharpness.soft_rank
spectrum           none    0    1    sharpness.negative_mass
perturbation       none    0    inf  sharpness.random sharpness.random_paper_protocol sharpness.random_null
perturbation       none    -inf inf  sharpness.random_antithetic sharpness.sam
average_case       none    -inf inf  sharpness.average/*
worst_case         none    -inf inf  sharpness.worst/*
keskar             none    -inf inf  sharpness.keskar
first_order        none    0    inf  sharpness.first_order
pac_bayes          none    0    inf  sharpness.pac_bayes_sigma
slices             none    -inf inf  sharpness.slice_curvature
fisher_rao         none    0    inf  flatness.fisher_rao flatness.fisher_rao_paper
relative_flatness  none    0    inf  flatness.relative_trace flatness.relative_trace_normalised flatness.relative_lambda
information        none    -inf inf  estimate.tic estimate.soft_rank_gap estimate.iic_gaussian_linearised
reparametrisation  none    0    inf  reparametrisation.pairs reparametrisation.logit_change reparametrisation.moved
"""
"""Probe, better direction, lowest and highest possible value, names; ``*`` stands for a qualifier."""


def _meanings() -> Iterator[tuple[str, Meaning]]:
    for line in TABLE.strip().splitlines():
        probe, direction, low, high, *names = line.split()
        for name in names:
            yield name, Meaning(cast(Direction, direction), float(low), float(high), probe)


MEANINGS: Mapping[str, Meaning] = dict(_meanings())

SCALE_DEPENDENT = frozenset(
    f"sharpness.{name}" for name in ("lambda_max", "lambda_min", "trace", "trace_ggn", "frobenius", "logdet_damped")
)
"""Raw Hessian scales: rescaling layers without changing the function moves them, so a limit on them must be acknowledged."""

ACKNOWLEDGEMENT: Literal["scale-dependent"] = "scale-dependent"


def meaning(metric: str) -> Meaning | None:
    """What is known of `metric`, which may itself hold ``*``; None for an unknown name."""
    if metric in MEANINGS:
        return MEANINGS[metric]
    return next((found for name, found in MEANINGS.items() if "*" in name and matches(name, metric)), None)


def plugins() -> frozenset[str]:
    """The names of installed plug-ins, which are the families of what they measure; nothing of theirs is imported."""
    return frozenset(entry.name for entry in entry_points(group="sharpaudit.probes"))


def matches(pattern: str, name: str) -> bool:
    """Whether `name` fits `pattern`: ``*`` stands for one qualifier, or for a label with all its slashes."""
    wanted, given = pattern.split("/"), name.split("/")
    if wanted[-1].endswith("*") and OPEN_ENDED.match(pattern) and len(given) > len(wanted):
        given[len(wanted) - 1 :] = ["/".join(given[len(wanted) - 1 :])]
    return len(wanted) == len(given) and all(map(_fits, wanted, given))


def _fits(pattern: str, part: str) -> bool:
    """Whether `part` is `pattern` with at least one character for every ``*``; in a time that grows with their lengths alone."""
    first, *others = pattern.split("*")
    if not others:
        return part == pattern
    *middle, last = others
    if not (part.startswith(first) and part.endswith(last)):
        return False
    position, end = len(first) + 1, len(part) - len(last)
    for text in middle:  # the leftmost place is as good as any
        found = part.find(text, position, end)
        if found < 0:
            return False
        position = found + len(text) + 1
    return position <= end


OPEN_ENDED = re.compile(r"clean\.accuracy/class/|sharpness\.")
"""Where the last ``*`` may span slashes: class labels can hold them, and norms and radii are several qualifiers."""
