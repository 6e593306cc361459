"""I3D: an image network whose kernels were blown up over time.

Carreira and Zisserman 2017, "Quo Vadis, Action Recognition?" (arXiv 1705.07750): a 2-D kernel is repeated
over time and divided by its new length, so that a video in which nothing moves gets the image network's
answer. Zeros around the ends of a clip would break that; here the first and the last frame are repeated,
so it holds exactly. Which layers look over time follows Wang et al. 2018 (arXiv 1711.07971).
"""

from __future__ import annotations

import copy
from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional

from models.architectures.efficientnet_lite import LiteTrunk, SameConv2d
from models.architectures.efficientnet_lite_scaled import ScaledLiteTrunk
from models.architectures.frames import LITE, ChannelStatistics, NormaliseClips
from models.architectures.motion import LinearHead
from models.architectures.resnet import IMAGENET, BasicBlock, ResNetTrunk
from models.spec import VideoInput


class InflatedConv3d(nn.Conv3d):
    """A 2-D convolution over ``frames`` frames: (N, C, T, H, W) to (N, C', T / stride, H', W').

    Loads the image network's state dict as well as its own: a kernel without time is inflated then.
    """

    def __init__(self, image: nn.Conv2d, frames: int, time_stride: int = 1) -> None:
        self.image_padding = (0, 0) if isinstance(image, SameConv2d) else _pair(image.padding)
        super().__init__(
            image.in_channels,
            image.out_channels,
            (frames, *_pair(image.kernel_size)),
            stride=(time_stride, *_pair(image.stride)),
            padding=(0, *self.image_padding),
            groups=image.groups,
            bias=image.bias is not None,
        )
        self.weight.data = inflated(image.weight.data, frames)
        if image.bias is not None and self.bias is not None:
            self.bias.data = image.bias.data.clone()
        self.register_load_state_dict_pre_hook(_inflate_on_loading)  # type: ignore[no-untyped-call]

    def forward(self, clips: Tensor) -> Tensor:
        around = self.kernel_size[0] // 2
        if around:
            clips = functional.pad(clips, (0, 0, 0, 0, around, around), mode="replicate")
        return super().forward(clips)


class InflatedSameConv3d(InflatedConv3d):
    """The same of TensorFlow's "SAME" padding, zeros around the picture."""

    def forward(self, clips: Tensor) -> Tensor:
        below, right = (
            _same(clips.shape[axis], self.kernel_size[axis - 2], self.stride[axis - 2]) for axis in (3, 4)
        )
        return super().forward(functional.pad(clips, (*right, *below)))


def inflated(kernel: Tensor, frames: int) -> Tensor:
    """(C', C, H, W) to (C', C, frames, H, W) whose sum over time is the kernel."""
    return kernel.unsqueeze(2).repeat(1, 1, frames, 1, 1) / frames


def _inflate_on_loading(conv: InflatedConv3d, state: dict[str, Tensor], prefix: str, *_: object) -> None:
    kernel = state.get(f"{prefix}weight")
    if kernel is not None and kernel.ndim == 4:
        state[f"{prefix}weight"] = inflated(kernel, conv.kernel_size[0])


# Name and convolution of the image network to frames of its kernel and its stride over time.
Plan = Callable[[str, nn.Conv2d], tuple[int, int]]


def inflate(network: nn.Module, plan: Plan) -> nn.Module:
    """A copy of an image network with its weights that takes (N, C, T, H, W).

    Convolutions, batch norms and max poolings change; the network's own code must not count the axes after
    the channels.
    """
    video = copy.deepcopy(network)
    for name, module in network.named_modules():
        replacement = _inflated_layer(name, module, plan)
        if replacement is not None:
            parent, _, child = name.rpartition(".")
            setattr(video.get_submodule(parent), child, replacement)
    return video


def _inflated_layer(name: str, module: nn.Module, plan: Plan) -> nn.Module | None:
    if isinstance(module, SameConv2d):
        return InflatedSameConv3d(module, *plan(name, module))
    if isinstance(module, nn.Conv2d):
        return InflatedConv3d(module, *plan(name, module))
    if isinstance(module, nn.BatchNorm2d):
        norm = nn.BatchNorm3d(module.num_features, eps=module.eps, momentum=module.momentum)
        norm.load_state_dict(module.state_dict())
        return norm
    if isinstance(module, nn.MaxPool2d):
        kernel, stride, padding = (_pair(v) for v in (module.kernel_size, module.stride, module.padding))
        return nn.MaxPool3d((1, *kernel), stride=(1, *stride), padding=(0, *padding))
    return None


def resnet_plan(trunk: ResNetTrunk) -> Plan:
    """The stem sees five frames and halves time; the first convolution of a block sees three.

    Of bottlenecks, whose first convolution is 1x1, every second one.
    """
    every = 1 if isinstance(trunk.layer1[0], BasicBlock) else 2

    def plan(name: str, conv: nn.Conv2d) -> tuple[int, int]:
        stage, _, rest = name.partition(".")
        if stage == "conv1":
            return 5, 2
        block, _, layer = rest.partition(".")
        return (3 if layer == "conv1" and int(block) % every == 0 else 1), 1

    return plan


def lite_plan(name: str, conv: nn.Conv2d) -> tuple[int, int]:
    """Depthwise convolutions see three frames: little to compute, and the rest stays as it was."""
    return (3 if name.endswith("_depthwise_conv") else 1), 1


class I3D(nn.Module):
    """(N, T, H, W, 3) uint8 clips to (N, labels) logits; ``trunk``: normalised clips to (N, features)."""

    def __init__(
        self, trunk: nn.Module, features: int, statistics: ChannelStatistics, labels: int, dropout: float
    ) -> None:
        super().__init__()
        self.normalise = NormaliseClips(statistics)
        self.trunk = trunk
        self.head = LinearHead(features, labels, dropout)

    @property
    def pretrained(self) -> LiteTrunk | None:
        return self.trunk if isinstance(self.trunk, LiteTrunk) else None

    def forward(self, clips: Tensor) -> Tensor:
        logits: Tensor = self.head(self.trunk(self.normalise(clips)))
        return logits


def i3d_from_resnet(image: ResNetTrunk, labels: int, dropout: float) -> I3D:
    return I3D(inflate(image, resnet_plan(image)), image.features, IMAGENET, labels, dropout)


def i3d_from_lite(image: ScaledLiteTrunk, labels: int, dropout: float) -> I3D:
    return I3D(inflate(image, lite_plan), image.features, LITE, labels, dropout)


def build_i3d(video: VideoInput, labels: int, depth: int = 50, width: int = 64, dropout: float = 0.5) -> I3D:
    return i3d_from_resnet(ResNetTrunk(depth, width), labels, dropout)


def build_i3d_lite(video: VideoInput, labels: int, size: int = 0, dropout: float = 0.5) -> I3D:
    return i3d_from_lite(ScaledLiteTrunk(size), labels, dropout)


def _pair(value: object) -> tuple[int, int]:
    if isinstance(value, int):
        return value, value
    if isinstance(value, tuple):
        first, second = value
        return int(first), int(second)
    raise TypeError(f"expected one or two sizes, got {value!r}")


def _same(size: int, kernel: int, stride: int) -> tuple[int, int]:
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2
