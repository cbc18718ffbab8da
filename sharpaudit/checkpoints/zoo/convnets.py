"""Two convolutions and a linear layer or two: networks for digits."""

from __future__ import annotations

from torch import Tensor, nn


class FeaturesClassifier(nn.Module):
    """Convolutions under the name ``features``, flattened into ``classifier``."""

    def __init__(self, features: nn.Module, classifier: nn.Module) -> None:
        super().__init__()
        self.features = features
        self.classifier = classifier

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, classes)."""
        return self.classifier(self.features(x).flatten(1))  # type: ignore[no-any-return]  # modules are called untyped


def _pooled_features(in_channels: int, width: int) -> nn.Sequential:
    """Twice: a 3x3 convolution (the second doubles the width), ReLU, max-pooling by 2."""
    first, second = nn.Conv2d(in_channels, width, 3, padding=1), nn.Conv2d(width, 2 * width, 3, padding=1)
    return nn.Sequential(first, nn.ReLU(), nn.MaxPool2d(2), second, nn.ReLU(), nn.MaxPool2d(2))


def convnet_pooled(num_classes: int = 10, in_channels: int = 1, image_size: int = 28) -> nn.Module:
    """Two convolutions of 32 and 64 channels with max-pooling, then 128 hidden units."""
    hidden = nn.Linear(64 * (image_size // 4) ** 2, 128)
    return FeaturesClassifier(_pooled_features(in_channels, 32), nn.Sequential(hidden, nn.ReLU(), nn.Linear(128, num_classes)))


def convnet_strided(num_classes: int = 10, in_channels: int = 1, image_size: int = 28) -> nn.Module:
    """Two 4x4 convolutions of stride 2, 16 and 32 channels, then 100 hidden units; numbered layers."""
    return nn.Sequential(
        nn.Conv2d(in_channels, 16, 4, 2, 1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 4, 2, 1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * (image_size // 4) ** 2, 100),
        nn.ReLU(),
        nn.Linear(100, num_classes),
    )


def digits_cnn(num_classes: int = 10, in_channels: int = 1, image_size: int = 8) -> nn.Module:
    """6,090 parameters for 8x8 grey digits: two convolutions of 16 and 32 channels with max-pooling, one linear layer."""
    return FeaturesClassifier(_pooled_features(in_channels, 16), nn.Linear(32 * (image_size // 4) ** 2, num_classes))
