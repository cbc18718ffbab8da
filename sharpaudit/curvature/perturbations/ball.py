"""Which weights count as near? A ball around θ, of one radius in every coordinate or of radii that follow the weights.

A perturbation is δ = c ∘ u with u in the ball of radius ρ about 0, in the ℓ2 or the ℓ∞ norm. The standard ball has c = 1. The
adaptive one has c = |θ|, elementwise (Kwon et al. 2021, ASAM, 2102.11600): where a layer is scaled up and the next one down by
the same factor the ball follows, and so what happens inside stays the same. Everything is computed in u, so nothing is divided
by a weight, and a weight that is zero stays zero.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from sharpaudit.ascent import Norm, lengths
from sharpaudit.curvature.draws import gaussian, uniform
from sharpaudit.curvature.objective import Objective
from sharpaudit.errors import UsageError
from sharpaudit.transfer import sent


@dataclass(frozen=True)
class Form:
    """A kind and size of ball, and the name of what is measured in it."""

    norm: Norm
    adaptive: bool
    radius: float

    def name(self, *, normalised: bool = False) -> str:
        """For example ``linf/adaptive/normalised/0.002``."""
        parts = [self.norm, "adaptive" if self.adaptive else "", "normalised" if normalised else "", f"{self.radius:g}"]
        return "/".join(part for part in parts if part)

    def around(self, objective: Objective) -> Ball:
        """The ball of this form around the objective's θ."""
        return Ball.around(objective, self.norm, self.radius, adaptive=self.adaptive)


@dataclass(frozen=True, kw_only=True)
class Radii:
    """The forms that a probe measures; base of its options."""

    l2: tuple[float, ...] = ()
    """Radii of standard ℓ2 balls."""
    l2_adaptive: tuple[float, ...] = ()
    """Radii of adaptive ℓ2 balls."""
    linf: tuple[float, ...] = ()
    """Radii of standard ℓ∞ balls."""
    linf_adaptive: tuple[float, ...] = ()
    """Radii of adaptive ℓ∞ balls."""

    def forms(self) -> Iterator[Form]:
        """Every radius of every kind."""
        kinds: list[tuple[Norm, bool, tuple[float, ...]]] = [
            ("l2", False, self.l2),
            ("l2", True, self.l2_adaptive),
            ("linf", False, self.linf),
            ("linf", True, self.linf_adaptive),
        ]
        for norm, adaptive, radii in kinds:
            yield from (Form(norm, adaptive, radius) for radius in radii)

    def check(self, probe: str) -> None:
        """Refuse radii that no run could honour.

        Raises:
            UsageError: there are none, one is not a positive number, or two are the same.
        """
        forms = list(self.forms())
        wrong = [form.radius for form in forms if not 0 < form.radius < math.inf]
        if wrong:
            raise UsageError(f"{probe}: expected positive radii, got {wrong[0]:g}")
        if not forms or len({form.name() for form in forms}) < len(forms):
            raise UsageError(f"{probe}: expected a radius in l2, l2_adaptive, linf or linf_adaptive, and none twice")


@dataclass(frozen=True)
class Ball:
    """The perturbations c ∘ u with ‖u‖ ≤ `radius`."""

    norm: Norm
    radius: float
    scale: Tensor
    """c (P,), in the objective's floating type."""

    @classmethod
    def around(cls, objective: Objective, norm: Norm, radius: float, *, adaptive: bool = False) -> Ball:
        """The standard or the adaptive ball around the objective's θ."""
        theta = objective.parameters
        return cls(norm, radius, theta.abs() if adaptive else torch.ones_like(theta))

    @classmethod
    def keskar(cls, objective: Objective, epsilon: float) -> Ball:
        """The box |δ_i| ≤ ε(|θ_i| + 1) of Keskar et al. 2017 (1609.04836, equation 3 with A = I)."""
        return cls("linf", epsilon, objective.parameters.abs() + 1)

    def perturbation(self, u: Tensor) -> Tensor:
        """δ (P,) of a vector u."""
        return self.scale * u

    def noise(self, seed: int, draw: int) -> Tensor:
        """A random δ: independent N(0, ρ²c_i²) entries in ℓ2, uniform on [−ρc_i, ρc_i] in ℓ∞."""
        make = gaussian if self.norm == "l2" else uniform
        return self.perturbation(self.radius * sent(make(len(self.scale), seed, draw), self.scale))

    def direction(self, seed: int, draw: int) -> Tensor:
        """A random u on the surface of the ball."""
        u = sent(gaussian(len(self.scale), seed, draw), self.scale)[None]
        return (u * (self.radius / lengths(u, self.norm)).to(u.dtype))[0]
