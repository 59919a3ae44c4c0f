"""A classifier: a feature map, its mean, and a linear head. All models have this form.

The class activation map comes at no cost: the head's weights, laid over the feature map.
Source of that map: Zhou et al., Learning Deep Features for Discriminative Localization, 2016.
"""

from typing import Self

from torch import Tensor, nn

from imageloop.model.backbones import Features, Normalisation


class Classifier(nn.Module):
    """Shapes: (B, H, W, 3) uint8 -> logits (B, K)."""

    def __init__(self, features: Features, num_classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.features = features
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(features.num_features, num_classes)
        self.features_train = True  # False while fine-tuning: batch norms keep the statistics of ImageNet

    def train(self, mode: bool = True) -> Self:  # noqa: FBT001 - torch's signature
        super().train(mode)
        self.features.train(mode and self.features_train)
        return self

    def forward(self, images_BHWC: Tensor) -> Tensor:
        embeddings_BD = self.features(images_BHWC).mean((2, 3))
        logits_BK: Tensor = self.head(self.dropout(embeddings_BD))
        return logits_BK


def baseline_features(channels: tuple[int, ...]) -> Features:
    """A plain convolutional network: each stage halves the image twice-convolved, untrained.

    Shapes: (B, H, W, 3) uint8 -> (B, channels[-1], H / 2**S, W / 2**S) for S stages.
    """
    stages: list[nn.Module] = []
    for inputs, outputs in zip((3, *channels[:-1]), channels, strict=True):
        stages += [*_convolution(inputs, outputs, stride=2), *_convolution(outputs, outputs, stride=1)]
    network = nn.Sequential(*stages)
    return Features(network, Normalisation((0.5,) * 3, (0.25,) * 3), channels[-1])


def _convolution(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    ]
