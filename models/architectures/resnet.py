"""ResNet over single images, the backbone of the frame-wise and of the inflated networks.

He et al. 2015 (arXiv 1512.03385). Parameter names and shapes are torchvision's: ``ResNet(18)`` takes the
state dict of ``torchvision.models.resnet18`` unchanged and gives the same logits, ``ResNet(50)`` that of
``resnet50``. Nothing here counts the axes after the channels, so that ``i3d.inflate`` can add time.
"""

from __future__ import annotations

from torch import Tensor, nn

# Channel statistics of ImageNet as torchvision's image models use them, on [0, 1].
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    expansion = 1

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width_in, width, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _shortcut(width_in, width, stride)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, images: Tensor) -> Tensor:
        hidden = self.relu(self.bn1(self.conv1(images)))
        result: Tensor = self.relu(self.bn2(self.conv2(hidden)) + self.downsample(images))
        return result


class Bottleneck(nn.Module):
    """1x1 narrow, 3x3, 1x1 four times as wide, and a shortcut; the 3x3 strides, as in torchvision."""

    expansion = 4

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        wide = width * self.expansion
        self.conv1 = nn.Conv2d(width_in, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, wide, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(wide)
        self.downsample = _shortcut(width_in, wide, stride)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, images: Tensor) -> Tensor:
        hidden = self.relu(self.bn1(self.conv1(images)))
        hidden = self.relu(self.bn2(self.conv2(hidden)))
        result: Tensor = self.relu(self.bn3(self.conv3(hidden)) + self.downsample(images))
        return result


Block = type[BasicBlock] | type[Bottleneck]

DEPTHS: dict[int, tuple[Block, tuple[int, int, int, int]]] = {
    10: (BasicBlock, (1, 1, 1, 1)),
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
}


class ResNetTrunk(nn.Module):
    """(N, channels, H, W) normalised images to (N, features); everything but the classifier."""

    def __init__(self, depth: int, width: int = 64, channels: int = 3) -> None:
        super().__init__()
        if depth not in DEPTHS:
            raise ValueError(f"depth must be one of {sorted(DEPTHS)}, got {depth}")
        block, counts = DEPTHS[depth]
        self.features = 8 * width * block.expansion
        self.conv1 = nn.Conv2d(channels, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = _stage(block, width, width, counts[0], 1)
        self.layer2 = _stage(block, width * block.expansion, 2 * width, counts[1], 2)
        self.layer3 = _stage(block, 2 * width * block.expansion, 4 * width, counts[2], 2)
        self.layer4 = _stage(block, 4 * width * block.expansion, 8 * width, counts[3], 2)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def feature_map(self, images: Tensor) -> Tensor:
        """(N, channels, H, W) to (N, features, H / 32, W / 32)."""
        hidden = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        result: Tensor = self.layer4(self.layer3(self.layer2(self.layer1(hidden))))
        return result

    def pooled(self, images: Tensor) -> Tensor:
        return self.feature_map(images).flatten(2).mean(2)  # (N, features, positions) to (N, features)

    def forward(self, images: Tensor) -> Tensor:
        return self.pooled(images)


class ResNet(ResNetTrunk):
    """(N, 3, H, W) normalised images to (N, classes) logits."""

    def __init__(self, depth: int, classes: int = 1000, width: int = 64) -> None:
        super().__init__(depth, width)
        self.fc = nn.Linear(self.features, classes)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.pooled(images))
        return logits


def _stage(block: Block, width_in: int, width: int, count: int, stride: int) -> nn.Sequential:
    first = block(width_in, width, stride)
    return nn.Sequential(first, *(block(width * block.expansion, width, 1) for _ in range(count - 1)))


def _shortcut(width_in: int, width: int, stride: int) -> nn.Module:
    """A projection only where the shape changes."""
    if stride == 1 and width_in == width:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(width_in, width, 1, stride=stride, bias=False), nn.BatchNorm2d(width))
