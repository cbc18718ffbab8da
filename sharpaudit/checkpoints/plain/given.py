"""What is known of a network beside its weights, and what was found with it?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from sharpaudit.checkpoints.fitting import Resolved
from sharpaudit.checkpoints.plain import normalisations
from sharpaudit.checkpoints.plain.trial import LabelledImages, Normalisation
from sharpaudit.checkpoints.preprocessing import is_input_size
from sharpaudit.checkpoints.statements import Statements
from sharpaudit.request import PreprocessingOverrides


@dataclass(frozen=True)
class Given:
    """What the user, the file and labelled images tell."""

    overrides: PreprocessingOverrides | None
    stated: Statements
    images: LabelledImages | None
    allow_nonfinite: bool

    @property
    def normalisation(self) -> Normalisation | None:
        """Mean and standard deviation, where the user or the file states both."""
        stated, flags = self.stated.preprocessing, self.overrides or PreprocessingOverrides()
        mean, std = flags.mean or stated.get("mean"), flags.std or stated.get("std")
        return normalisations.stated(mean, std) if mean and std else None

    @property
    def labelled(self) -> LabelledImages | None:
        """The images, where they are of one shape and can be shown to a network whose input size nobody knows."""
        return self.images if self.images and self.images.shape else None

    @property
    def size_by_user(self) -> tuple[int, int, int] | None:
        """Channels, height and width of the network's input, where the user states them."""
        return self.overrides.input_size if self.overrides else None

    @property
    def size_by_file(self) -> Sequence[int] | None:
        """The same, where the file states them."""
        size = self.stated.preprocessing.get("input_size")
        return size if is_input_size(size) else None

    @property
    def image_size(self) -> int | None:
        """The height of the network's input, where the user or the file states it."""
        size = self.size_by_user or self.size_by_file
        return size[1] if size else None


@dataclass(frozen=True)
class Identified:
    """The networks that the weights fit, the likeliest first, and who named them."""

    fits: list[Resolved]
    origin: str
    steps: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    """What the images leave open; no gate passes with it."""
