"""What did the model say about each example? One row an example; every safety metric is computed from these columns alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Predictions:
    """Per-example columns of one view (a data set, or one corruption of it), in the order of its index hash."""

    labels: Ints
    prediction: Ints
    """The class with the largest logit; the first of equals."""
    confidence: Floats
    """Its softmax probability."""
    nll: Floats
    """−log p of the label, nats."""
    brier: Floats
    """‖p − e_label‖², 0 to 2."""
    margin: Floats
    """Logit of the label less the largest other logit; positive where the prediction is right."""
    logits: NDArray[np.float32] | None = None
    """(n, classes); kept for the views whose metrics need the whole distribution."""

    @classmethod
    def from_logits(cls, logits: ArrayLike, labels: ArrayLike, *, keep_logits: bool = True) -> Self:
        """The columns of one batch, computed in float64.

        Raises:
            ValueError: shapes that do not fit, fewer than two classes, labels outside them, or logits that are not finite.
        """
        z, y = np.asarray(logits, dtype=np.float64), np.asarray(labels, dtype=np.int64)
        if z.ndim != 2 or y.shape != z.shape[:1] or z.shape[1] < 2:
            raise ValueError(f"expected logits (n, classes >= 2) and labels (n,), got {z.shape} and {y.shape}")
        if np.any((y < 0) | (y >= z.shape[1])):
            raise ValueError(f"labels must lie in 0..{z.shape[1] - 1}, got {y.min()} to {y.max()}")
        finite = np.isfinite(z).all(axis=1)
        if not finite.all():
            bad = np.flatnonzero(~finite)
            raise ValueError(f"the logits of {len(bad)} of {len(z)} examples are not finite; first: example {bad[0]}")
        log_p = log_softmax(z)
        p = np.exp(log_p)
        rows = np.arange(len(z))
        others = z.copy()
        others[rows, y] = -np.inf
        prediction = z.argmax(axis=1)
        return cls(
            labels=y,
            prediction=prediction,
            confidence=p[rows, prediction],
            nll=-log_p[rows, y],
            brier=np.square(p).sum(axis=1) - 2 * p[rows, y] + 1,
            margin=z[rows, y] - others.max(axis=1),
            logits=z.astype(np.float32) if keep_logits else None,
        )

    @classmethod
    def concatenate(cls, batches: Iterable[Predictions]) -> Self:
        """The batches one after another; logits are kept when every batch has them."""
        parts = list(batches)
        if not parts:
            raise ValueError("no batches to concatenate")
        return cls.from_columns(
            {
                name: np.concatenate([part.columns()[name] for part in parts])
                for name in parts[0].columns()
                if all(name in part.columns() for part in parts)
            }
        )

    def columns(self) -> dict[str, NDArray[Any]]:
        """The arrays by name, for storage."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: array for name, array in found.items() if array is not None}

    @classmethod
    def from_columns(cls, columns: Mapping[str, NDArray[Any]]) -> Self:
        """The inverse of `columns`; arrays are used as they are.

        Raises:
            ValueError: a column is missing or unknown, the columns differ in length, or hold what `from_logits` never gives.
        """
        known = {field.name for field in fields(cls)}
        if not known - {"logits"} <= set(columns) <= known:
            raise ValueError(f"expected the columns {sorted(known)} (logits may be absent), got {sorted(columns)}")
        if len({len(array) for array in columns.values()}) != 1:
            raise ValueError(f"columns differ in length: { {name: len(array) for name, array in columns.items()} }")
        for name, array in columns.items():
            kind, ndim = ("i", 1) if name in ("labels", "prediction") else ("f", 2 if name == "logits" else 1)
            if array.dtype.kind != kind or array.ndim != ndim:
                raise ValueError(f"expected '{name}' of kind {kind} and {ndim} dimensions, got {array.dtype} {array.shape}")
            if not np.isfinite(array).all() or (kind == "i" and (array < 0).any()):
                raise ValueError(f"'{name}' holds numbers that no prediction has")
        return cls(**columns)

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Where the prediction is the label."""
        return np.asarray(self.prediction == self.labels)

    def __len__(self) -> int:
        return len(self.labels)


def log_softmax(logits: ArrayLike) -> Floats:
    """Log-probabilities in float64; a shift of an example's logits changes nothing."""
    z = np.asarray(logits, dtype=np.float64)
    z = z - z.max(axis=-1, keepdims=True)
    result: Floats = z - np.log(np.exp(z).sum(axis=-1, keepdims=True))
    return result


def softmax(logits: ArrayLike) -> Floats:
    """Probabilities in float64."""
    return np.exp(log_softmax(logits))
