"""Example cards for every renderer and for the codec: full and realistic, minimal, hostile, and many."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from sharpaudit.card import (
    Card,
    CorruptionSource,
    DataRecord,
    Direction,
    Environment,
    Failed,
    Interval,
    Measured,
    Measurement,
    Preprocessing,
    ProbeRun,
    ProbeSet,
    Scalar,
    Setting,
    Skipped,
    Subject,
    Table,
    Timing,
)

CIFAR10 = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]

CORRUPTIONS = {
    "noise": ["gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise"],
    "blur": ["defocus_blur", "motion_blur", "zoom_blur", "gaussian_blur"],
    "weather": ["snow", "frost", "fog", "brightness"],
    "digital": ["contrast", "elastic_transform", "pixelate", "jpeg_compression"],
}

PAYLOADS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "</title><script>alert(2)</script>",
    "</script><b>out</b>",
    "<!-- comment",
    "]]><x/>",
    '"><svg onload=alert(3)>',
    "' onmouseover='alert(4)",
    "javascript:alert(5)",
    "{{ 7 * 7 }}",
    "{% raw %}",
    "&lt;b&gt; &amp; &#60;",
    "\x1b[31mred\x1b[0m",
    "\x1b]0;title\x07",
    "\x9b31m8-bit",
    "\x1b]8;;http://evil.test\x1b\\link\x1b]8;;\x1b\\",
    "[/foo]",
    "[bold red]x[/bold red]",
    "[link=http://evil.test]x[/link]",
    ":warning: :+1:",
    "::error file=a::broken",
    "\n::set-output name=x::y",
    "##[error]broken",
    "\r\n## heading",
    "| a | b |\n|---|---|",
    "a\\|b|c\\",
    "`code` ``more``",
    "**bold** _it_ ~~no~~",
    "![x](http://evil.test/x.png)",
    "[x](javascript:alert(6))",
    "http://evil.test www.evil.test a@evil.test",
    "@everyone #1 GH-1 octo/repo#2",
    "$\\frac{1}{0}$ $`x`$",
    "\u202eevil\u202c \u2066x\u2069",
    "שלום مرحبا",
    '=HYPERLINK("http://evil.test")',
    "+1-1|cmd",
    "@SUM(A1)",
    "\x00null \ud800 lone",
    "é" * 100_000,
    "- [ ] task",
    "1. first",
    "=====",
    "    indented",
]
"""What a class name, a file name or a sentence on a card may hold: markup, escapes, commands, formulas, 100 kB."""


def number(
    name: str,
    value: float,
    half_width: float | None = None,
    *,
    n: int = 1000,
    unit: str = "fraction",
    direction: Direction = "none",
    method: str = "mean over examples",
    converged: bool | None = None,
) -> Measured:
    """A measurement called `name` with a symmetric interval, or none with a reason."""
    ci = None if half_width is None else Interval(low=value - half_width, high=value + half_width, method="bca")
    return Measured(
        name=name,
        value=value,
        unit=unit,
        direction=direction,
        n=n,
        ci=ci,
        reason=None if ci else "a deterministic function of the weights and the frozen probe set",
        method=method,
        converged=converged,
        iterations=40 if converged is not None else None,
        residual=3e-5 if converged is not None else None,
        probe=name.split(".")[0],
        version=1,
    )


def proportion(name: str, value: float, *, n: int = 1000, direction: Direction = "higher") -> Measured:
    """A proportion with its Wilson interval."""
    z = 1.959963984540054
    centre = (value + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(value * (1 - value) / n + z * z / (4 * n * n))
    return Measured(
        name=name,
        value=value,
        unit="fraction",
        direction=direction,
        n=n,
        ci=Interval(low=centre - half, high=centre + half, method="wilson"),
        method="share of examples",
        probe="accuracy" if name.startswith("clean") else name.split(".")[0],
        version=1,
    )


def skipped(name: str, reason: str) -> Skipped:
    """A number that was not asked for."""
    return Skipped(name=name, reason=reason, probe=name.split(".")[0], version=1)


def full(
    file: str = "resnet20-cifar10.safetensors",
    *,
    classes: Sequence[str] = CIFAR10,
    reading: Sequence[str] | None = None,
    shift: float = 0.0,
    note: str = "resized by hand",
) -> Card:
    """A card with every family of numbers, two of them skipped and one failed, and every table."""
    rng = np.random.default_rng(0)
    accuracy = 0.915 + shift
    classwise = [min(1.0, round(accuracy + offset, 2)) for offset in rng.normal(0, 0.04, len(classes)).tolist()]
    corruption = _corruption_rows(accuracy)
    cells = [proportion(f"corruption.accuracy/{row[0]}/{row[2]}", float(str(row[4]))) for row in corruption]
    means: list[Measurement] = [
        number(f"corruption.accuracy/{name}", _mean(corruption, name), 0.017, direction="higher")
        for names in CORRUPTIONS.values()
        for name in names
    ]
    measurements: list[Measurement] = [
        proportion("clean.accuracy", accuracy),
        number("clean.nll", 0.3842 - shift, 0.0521, unit="nats", direction="lower"),
        number("clean.brier", 0.1374, 0.0213, unit="1", direction="lower"),
        proportion("clean.train_accuracy", 0.999, n=10000),
        number("clean.generalisation_gap", 0.084 - shift, 0.018, direction="lower"),
        number("clean.worst_class_accuracy", min(classwise), 0.07, n=100, direction="higher"),
        number("clean.class_gap", max(classwise) - min(classwise), 0.08, direction="lower"),
        *(proportion(f"clean.accuracy/class/{label}", share, n=100) for label, share in zip(classes, classwise, strict=True)),
        number("calibration.ece", 0.0391, 0.0147, direction="lower", method="15 equal-width bins"),
        number("calibration.ece_floor", 0.0128, 0.0004, direction="none"),
        number("calibration.ece_debiased", 0.0359, 0.0151, direction="lower"),
        number("calibration.adaptive_ece", 0.0388, 0.0149, direction="lower"),
        number("calibration.classwise_ece", 0.0104, 0.0021, direction="lower"),
        number("calibration.mce", 0.2713, 0.1392, direction="lower"),
        number("calibration.ks", 0.0388, 0.0150, direction="lower"),
        number("calibration.temperature", 1.672, 0.118, n=500, unit="1"),
        number("calibration.ece_after_temperature", 0.0152, 0.0094, n=500, direction="lower"),
        number("corruption.accuracy", float(np.mean([float(str(r[4])) for r in corruption])), 0.0147, direction="higher"),
        number("corruption.ece", 0.1521, 0.0131, direction="lower"),
        *means,
        *cells,
        number("sharpness.lambda_max", 41.3172, None, n=512, unit="1", converged=True, method="Lanczos, 40 steps"),
        number("sharpness.lambda_min", -1.84, None, n=512, unit="1", converged=True, method="Lanczos, 40 steps"),
        number("sharpness.trace", 803.2, 61.0, n=100, unit="1", method="Hutchinson, Rademacher draws"),
        number("sharpness.frobenius", 88.4, 7.1, n=30, unit="1"),
        number("sharpness.random", 6.213e-05, 4.1e-06, n=20, unit="nats per ρ", method="20 draws, ρ 0.005"),
        number("sharpness.random_null", 0.0, None, n=20, unit="nats per ρ"),
        number("sharpness.sam", 0.2136, 0.0108, n=512, unit="nats", method="one ascent step, ρ 0.05"),
        number("sharpness.average/l2/0.1", 0.0127, 0.0009, n=512, unit="nats"),
        number("sharpness.worst/linf/adaptive/0.002", 0.931, 0.041, n=512, unit="nats", converged=False),
        number("flatness.fisher_rao", 3.412, 0.233, n=512, unit="logits", method="forward-mode derivative"),
        number("flatness.fisher_rao_paper", 75.31, 4.92, n=512, unit="logits"),
        number("flatness.relative_trace", 18.87, 1.46, n=512, unit="1", method="closed form"),
        number("flatness.relative_trace_normalised", 214.6, 17.2, n=512, unit="1"),
        number("estimate.tic", 0.0431, 0.0087, n=512, unit="nats"),
        number("margin.quantile", 4.81, 0.12, unit="logits"),
        skipped("disagreement.rate", "needs a peer: compare two checkpoints"),
        skipped("disagreement.negative_flips", "needs a peer: compare two checkpoints"),
        skipped("corruption.mce", "no reference model was named"),
        Failed(name="sharpness.logdet_damped", reason=f"broke down after 3 of 80 steps; {note}", probe="spectrum", version=1),
    ]
    return Card(
        subject=Subject(
            file=file,
            sha256="12fca82f" * 8,
            size_bytes=1_123_456,
            format="safetensors",
            architecture="zoo:resnet20",
            architecture_origin="fingerprint",
            num_parameters=269_722,
            num_classes=len(classes),
            preprocessing=Preprocessing(
                mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225], input_size=[3, 32, 32], origin="config"
            ),
            steps=["opened the wrapper 'state_dict'", "stripped the prefix 'module.'"],
            dropped=["best_prec1"],
            warnings=[note],
        ),
        data=DataRecord(name="npz:cifar10_test1000.npz", n=1000, index_hash="ab" * 32, classes=list(classes)),
        train_data=DataRecord(name="npz:cifar10_train10000.npz", n=10000, index_hash="cd" * 32, classes=list(classes)),
        probe_set=ProbeSet(source="train", n=512, index_hash="ef" * 32, precision="float32"),
        environment=Environment(
            versions={"sharpaudit": "0.1.0", "torch": "2.14.1", "python": "3.11.9"},
            device="cpu",
            dtype="float32",
            tf32=False,
            threads=2,
        ),
        config={
            "seed": Setting(value=0, origin="default"),
            "probes": Setting(value="deep", origin="flag"),
            "batch_size": Setting(value=64, origin="config"),
        },
        seed=0,
        probes={
            "accuracy": ProbeRun(status="measured", version=1),
            "spectrum": ProbeRun(status="failed", version=1, reason="Lanczos broke down", options={"steps": 80}),
            "disagreement": ProbeRun(status="skipped", version=1, reason="needs a peer"),
        },
        measurements=sorted(measurements, key=lambda m: m.name),
        tables={
            "reliability": Table(columns=["bin_low", "bin_high", "count", "confidence", "accuracy"], rows=_reliability_rows(rng)),
            "class": Table(
                columns=["label", "n", "accuracy", "low", "high"],
                rows=[[c, 100, a, max(0.0, a - 0.06), min(1.0, a + 0.05)] for c, a in zip(classes, classwise, strict=True)],
            ),
            "corruption": Table(
                columns=["corruption", "family", "severity", "n", "accuracy", "ece", "nll", "flip_rate"], rows=corruption
            ),
            "spectrum": Table(columns=["node", "weight", "low", "high"], rows=_spectrum_rows()),
            "loss_slice": Table(columns=["alpha", "loss"], rows=[[a / 10, 0.012 + 1.9 * (a / 10) ** 2] for a in range(-10, 11)]),
        },
        reading=list(
            reading
            if reading is not None
            else [
                "The function is right on 915 of 1,000 test images and overconfident by about 0.036 beyond chance.",
                "Its Fisher-Rao norm is 3.41 [3.18, 3.65] and its relative flatness 18.9 [17.4, 20.3]: they describe "
                "the function that was learned and are no faults.",
                "Whether the sharper or the flatter of two is the safer one can only be said against a reference: compare.",
            ]
        ),
        timing=Timing(started="2026-11-24T04:00:00Z", seconds=74.2, probe_seconds={"accuracy": 1.4}, peak_memory_mib=612.5),
    )


def minimal() -> Card:
    """The least a card can hold."""
    return Card(
        subject=Subject(
            file="net.pt",
            sha256="0" * 64,
            size_bytes=1,
            format="torch-zip",
            architecture="timm:resnet18",
            architecture_origin="--arch",
            num_parameters=1,
            num_classes=2,
            preprocessing=Preprocessing(mean=[0.0], std=[1.0], input_size=[1, 8, 8], origin="flag"),
        ),
        data=DataRecord(name="digits", n=1, index_hash="0" * 64, classes=["0", "1"]),
        environment=Environment(versions={}, device="cpu", dtype="float32", tf32=False, threads=1),
        seed=0,
        probes={},
        measurements=[],
        reading=[],
    )


def hostile(payload: str, *, num_classes: int = 3) -> Card:
    """A full card whose every foreign name is `payload`."""
    classes = [f"{payload}{i or ''}" for i in range(num_classes)]
    card = full(payload, classes=classes, reading=[payload, payload], note=payload)
    fields = ("architecture", "architecture_origin", "format")
    subject = card.subject.model_copy(update=dict.fromkeys(fields, payload) | {"steps": [payload], "dropped": [payload]})
    rows = [[payload, payload, *row[2:]] for row in card.tables["corruption"].rows]
    return card.model_copy(
        update={
            "subject": subject,
            "data": card.data.model_copy(update={"name": payload}),
            "corruptions": CorruptionSource(label=payload, fingerprint=payload, missing=[payload], notes=[payload]),
            "config": {payload: Setting(value=payload, origin=payload)},
            "environment": card.environment.model_copy(update={"versions": {payload: payload}, "device": payload}),
            "measurements": [*card.measurements, number(f"sharpness.average/{payload}", 1.0, 0.1, unit=payload, method=payload)],
            "tables": card.tables | {"corruption": card.tables["corruption"].model_copy(update={"rows": rows})},
        }
    )


def fleet(count: int) -> list[Card]:
    """`count` full cards with different names and slightly different numbers."""
    return [full(f"seed{i:03d}.safetensors", shift=0.02 * math.sin(i)) for i in range(count)]


def _corruption_rows(clean: float) -> list[list[Scalar]]:
    rng = np.random.default_rng(1)
    rows: list[list[Scalar]] = []
    for family, names in CORRUPTIONS.items():
        for name in names:
            slope = float(rng.uniform(0.01, 0.14))
            for severity in range(1, 6):
                accuracy = round(max(0.12, clean - slope * severity), 3)
                rows.append([name, family, severity, 1000, accuracy, 0.04 + 0.03 * severity, 0.4 + 0.3 * severity, 1 - accuracy])
    return rows


def _mean(rows: list[list[Scalar]], name: str) -> float:
    return float(np.mean([float(str(row[4])) for row in rows if row[0] == name]))


def _reliability_rows(rng: np.random.Generator) -> list[list[Scalar]]:
    confidence = np.clip(1 - rng.exponential(0.07, 1000), 0.2, 1.0)
    correct = rng.random(1000) < np.clip(confidence - 0.036, 0, 1)
    which = np.minimum((confidence * 15).astype(int), 14)
    rows: list[list[Scalar]] = []
    for b in range(15):
        inside = which == b
        count = int(inside.sum())
        mean = [float(confidence[inside].mean()), float(correct[inside].mean())] if count else [None, None]
        rows.append([b / 15, (b + 1) / 15, count, *mean])
    return rows


def _spectrum_rows() -> list[list[Scalar]]:
    nodes = [-1.84, -0.4, -0.02, 0.0, 0.03, 0.3, 1.2, 4.0, 9.5, 17.2, 26.0, 41.3]
    weights = [2e-6, 3e-5, 0.04, 0.9, 0.05, 8e-3, 9e-4, 1e-4, 3e-5, 1e-5, 6e-6, 4e-6]
    return [[node, weight, weight * 0.7, weight * 1.3] for node, weight in zip(nodes, weights, strict=True)]
