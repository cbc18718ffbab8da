"""What can a probe ask for, and what is it told where there is nothing to give?"""

from __future__ import annotations

from enum import StrEnum


class Need(StrEnum):
    """The shared things a probe can ask the bench for."""

    PREDICTIONS = "predictions"
    """Per-example columns of the clean test view, with logits."""
    TRAIN = "train"
    """The same of the training view; None when no training data was given."""
    CORRUPTED = "corrupted"
    """Per-example columns of corrupted test views."""
    FEATURES = "features"
    """Penultimate features of the probe set, with the last layer's weight and the predicted probabilities."""
    OBJECTIVE = "objective"
    """The loss over the probe set as a function of the parameters: gradients, Hessian products, perturbed losses."""
    RESAMPLES = "resamples"
    """The bootstrap resamples that all metrics of an audit share."""


class UndeclaredNeed(RuntimeError):
    """A probe touched something that its declaration does not name: a defect of the probe."""


class NotApplicable(Exception):
    """The measurement makes no sense for this model or data; the message says why."""
