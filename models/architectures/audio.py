"""A small convolutional network over log-mel spectrograms."""

from __future__ import annotations

from torch import Tensor, nn

WIDTHS = (16, 32, 64, 64)


class AudioNet(nn.Module):
    """(N, frames, mels) float to (N, features): four 3x3 convolutions, each halving both axes, averaged."""

    def __init__(self) -> None:
        super().__init__()
        self.features = WIDTHS[-1]
        layers: list[nn.Module] = []
        for width_in, width in zip((1, *WIDTHS), WIDTHS, strict=False):
            layers += [
                nn.Conv2d(width_in, width, 3, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(inplace=True),
            ]
        self.layers = nn.Sequential(*layers)

    def forward(self, log_mel: Tensor) -> Tensor:
        pooled: Tensor = self.layers(log_mel.unsqueeze(1)).mean((2, 3))
        return pooled
