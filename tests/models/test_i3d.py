"""Inflation: a video in which nothing moves gets the image network's answer."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from models.architectures.efficientnet_lite_scaled import EfficientNetLite, ScaledLiteTrunk
from models.architectures.i3d import (
    InflatedConv3d,
    Plan,
    build_i3d_lite,
    i3d_from_resnet,
    inflate,
    inflated,
    lite_plan,
    resnet_plan,
)
from models.architectures.resnet import ResNet, ResNetTrunk
from models.spec import VideoInput
from tests.models import foreign

VIDEO = VideoInput(frames=4, frame_rate_hz=8, height=64, width=64)


def test_a_kernel_is_spread_over_time() -> None:
    kernel = torch.randn(4, 2, 3, 3)
    spread = inflated(kernel, 5)
    assert spread.shape == (4, 2, 5, 3, 3)
    torch.testing.assert_close(spread.sum(2), kernel)


def lite0() -> tuple[nn.Module, Plan]:
    return EfficientNetLite(0, classes=7), lite_plan


def resnet(depth: int) -> tuple[nn.Module, Plan]:
    network = ResNet(depth, classes=7, width=16)
    return network, resnet_plan(network)


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "lite0"])
@pytest.mark.parametrize("frames", [1, 5, 8])
def test_a_static_video_gives_the_image_networks_answer(name: str, frames: int) -> None:
    torch.manual_seed(0)
    network, plan = lite0() if name == "lite0" else resnet(int(name.removeprefix("resnet")))
    foreign.unsettle(network)
    image = torch.randn(2, 3, 60, 52)
    still = image.unsqueeze(2).repeat(1, 1, frames, 1, 1)
    with torch.inference_mode():
        foreign.assert_same_logits(inflate(network.eval(), plan).eval()(still), network(image))


def test_a_moving_video_gives_another() -> None:
    torch.manual_seed(0)
    network, plan = resnet(18)
    moving = torch.randn(1, 3, 8, 64, 64)
    with torch.inference_mode():
        video = inflate(network, plan).eval()(moving)
        frames = network.eval()(moving[0].transpose(0, 1)).mean(0, keepdim=True)
    assert not torch.allclose(video, frames, atol=1e-3)


def test_the_image_network_stays_as_it_is() -> None:
    network, plan = resnet(18)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    video = inflate(network, plan)
    nn.init.zeros_(video.get_parameter("conv1.weight"))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_weights_of_the_image_network_load_into_the_inflated_one() -> None:
    torch.manual_seed(0)
    image, video = ScaledLiteTrunk(0), build_i3d_lite(VIDEO, 2)
    foreign.unsettle(image)
    trunk = video.pretrained
    assert trunk is not None
    trunk.load_imagenet(image.state_dict())
    expected = inflate(image, lite_plan).state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in trunk.state_dict().items())
    trunk.load_state_dict(expected)  # and its own


@pytest.mark.parametrize(
    ("depth", "expected"),
    [
        (18, {"conv1": 5, "layer1.0.conv1": 3, "layer1.1.conv1": 3, "layer4.1.conv1": 3}),
        (50, {"conv1": 5, "layer1.0.conv1": 3, "layer1.2.conv1": 3, "layer3.4.conv1": 3}),
    ],
)
def test_which_layers_look_over_time(depth: int, expected: dict[str, int]) -> None:
    image = ResNetTrunk(depth, width=8)
    over_time = {
        name: module.kernel_size[0]
        for name, module in inflate(image, resnet_plan(image)).named_modules()
        if isinstance(module, InflatedConv3d) and module.kernel_size[0] > 1
    }
    assert over_time.items() >= expected.items()
    if depth == 50:
        assert "layer1.1.conv1" not in over_time


def test_clips_are_normalised_as_the_images_were() -> None:
    torch.manual_seed(0)
    image = ResNetTrunk(10, width=8).eval()
    network = i3d_from_resnet(image, labels=2, dropout=0.0).eval()
    still = foreign.clips(1, 1, 32).repeat(1, 4, 1, 1, 1)
    with torch.inference_mode():
        expected = network.head(image(network.normalise(still)[:, :, 0]))
        torch.testing.assert_close(network(still), expected)
