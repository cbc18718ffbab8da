"""What has been computed so far, and at which batch size?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

from sharpaudit.curvature.objective import Objective
from sharpaudit.device import Sizes
from sharpaudit.metrics.predictions import Predictions
from sharpaudit.stats import Resamples
from sharpaudit.workbench.features import FeatureTap


@dataclass
class Computed:
    """Shared by all narrowed benches of one audit."""

    batch_size: int
    """Images in one forward pass: what was set, halved whenever memory ran out."""
    within: Sizes
    """Bounds on what curvature puts on the device at once, halved likewise."""
    views: dict[str, Predictions] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)
    """Of the corrupted images that were sent through, as `ImageSet.index_hash` is of clean ones; by view."""
    tap: FeatureTap | None = None
    """Holds the features of the probe set, once its view was computed."""
    objective: Objective | None = None
    resamples: dict[int, Resamples] = field(default_factory=dict)
    results: dict[Hashable, Any] = field(default_factory=dict)
    own_passes: Counter[str] = field(default_factory=Counter)
    """Those that `objective` has not counted."""

    @property
    def passes(self) -> Counter[str]:
        """Examples sent through the model so far, by kind of pass."""
        return self.own_passes + (self.objective.passes if self.objective else Counter())

    def halve_batch(self) -> bool:
        """Use half as much memory from now on; False when it is one image at a time already."""
        if self.batch_size == 1 and self.within.least:
            return False
        self.batch_size = max(1, self.batch_size // 2)
        self.within = (self.objective.held if self.objective else self.within).halved()
        self.own_passes, self.objective = self.passes, None
        return True
