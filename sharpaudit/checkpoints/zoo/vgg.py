"""VGG with batch norm, for 32x32 images."""

from __future__ import annotations

from torch import Tensor, nn

VGG_WIDTHS = {
    11: ((64,), (128,), (256,) * 2, (512,) * 2, (512,) * 2),
    13: ((64,) * 2, (128,) * 2, (256,) * 2, (512,) * 2, (512,) * 2),
    16: ((64,) * 2, (128,) * 2, (256,) * 3, (512,) * 3, (512,) * 3),
    19: ((64,) * 2, (128,) * 2, (256,) * 4, (512,) * 4, (512,) * 4),
}
"""Convolutions between poolings (Simonyan & Zisserman 2015, table 1, columns A, B, D, E)."""


class CifarVgg(nn.Module):
    """VGG with batch norm for 32x32 images: one linear layer on the 512 features, behind a hidden one where `hidden`."""

    def __init__(self, depth: int, *, hidden: bool = False, num_classes: int = 10, in_channels: int = 3) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = in_channels
        for widths in VGG_WIDTHS[depth]:
            for width in widths:
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
                channels = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.hidden = nn.Sequential(*[nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU()] * hidden)
        self.classifier = nn.Linear(512, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, classes)."""
        return self.classifier(self.hidden(self.features(x).mean((2, 3))))  # type: ignore[no-any-return]  # modules are called untyped
