"""Logits and labels in, numbers out: accuracy, calibration, agreement of two models. numpy only, so both towers read it.

- `predictions`: the per-example columns that everything here starts from
- `accuracy`: per class, worst class, gap
- `calibration`: ECE with its floor, adaptive, class-wise, smooth, KS, temperature
- `corruption`: means over corruptions and severities, mean corruption error
- `agreement`: disagreement, flips, error consistency, divergence, similarity of features
- `disagreement`: the measurements that a peer adds to a card
- `recompute`: the columns behind a measurement's name, for intervals of differences
"""
