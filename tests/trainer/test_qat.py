"""Training with rounding simulated ends in plain weights that INT8 keeps better."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.trainer.small import batch, network
from trainer.config import Quantise
from trainer.data.dataset import Batch
from trainer.export import export_onnx, feed, onnx_logits
from trainer.qat import RoundedInput, RoundedWeight, rounding
from trainer.quantize import quantise


def test_a_kernel_has_a_scale_for_each_output() -> None:
    weight = torch.tensor([[1.0, 0.5, -0.003], [100.0, 1.0, 0.1]], requires_grad=True)
    rounded = RoundedWeight()(weight)
    expected = torch.tensor([[127, 64, 0], [127, 1, 0]]) * torch.tensor([[1 / 127], [100 / 127]])
    torch.testing.assert_close(rounded.detach(), expected)
    rounded.sum().backward()
    assert weight.grad is not None
    assert torch.equal(weight.grad, torch.ones(2, 3))  # straight through


def test_an_input_is_clipped_to_the_range_that_was_seen() -> None:
    rounded = RoundedInput()
    rounded.train()(torch.tensor([0.0, 2.55]))
    hidden = torch.tensor([-1.0, 0.0, 0.014, 2.55, 5.0], requires_grad=True)
    found = rounded.eval()(hidden)
    torch.testing.assert_close(found.detach(), torch.tensor([0.0, 0.0, 0.01, 2.55, 2.55]))
    found.sum().backward()
    assert hidden.grad is not None
    assert hidden.grad.tolist() == [0.0, 1.0, 1.0, 1.0, 0.0]  # nothing learns from what was clipped


def kernel(net: nn.Module, layer: int) -> Tensor:
    return net.get_parameter(f"stem.{layer}.weight")


def test_afterwards_the_network_is_plain_and_its_kernels_are_rounded() -> None:
    net = network(0)
    names, first = sorted(net.state_dict()), kernel(net, 0).detach().clone()
    with rounding(net, float_convolutions=1):
        net.train()(*batch(0).inputs.values()).sum().backward()
        assert any(isinstance(module, RoundedInput) for module in net.modules())
    assert sorted(net.state_dict()) == names
    assert torch.equal(kernel(net, 0), first)
    second = kernel(net, 3).detach()
    torch.testing.assert_close(RoundedWeight()(second), second)
    assert not any(module._forward_pre_hooks for module in net.modules())


class Toy(nn.Module):
    """(N, T, H, W, 3) uint8 to (N, 1): depthwise and pointwise, with one channel of a much wider range."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv3d(3, 8, 3, padding=1)
        self.two = nn.Conv3d(8, 8, 1)
        self.fc = nn.Linear(8, 1)
        self.two.weight.data[:, 0] *= 0.01
        self.one.weight.data[0] *= 100.0

    def forward(self, clips: Tensor) -> Tensor:
        hidden = torch.relu(self.one(clips.float().permute(0, 4, 1, 2, 3) / 255))
        logits: Tensor = self.fc(torch.relu(self.two(hidden)).mean((2, 3, 4)))
        return logits


@pytest.fixture
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def int8_error(net: nn.Module, target: list[Tensor], batches: list[Batch], folder: Path) -> float:
    """Mean distance of the INT8 file's logits to what the network was to say."""
    folder.mkdir()
    feeds = [feed(each) for each in batches]
    export_onnx(net, batches[0], folder / "fp32.onnx")
    quantise(folder / "fp32.onnx", folder / "int8.onnx", feeds, Quantise(float_convolutions=0))
    found = np.concatenate(onnx_logits(folder / "int8.onnx", feeds))
    return float(np.abs(found - torch.cat(target).numpy()).mean())


@pytest.mark.usefixtures("_one_thread")
def test_int8_says_more_nearly_what_was_learnt(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net, batches = Toy(), [batch(seed) for seed in range(4)]
    with torch.inference_mode():
        target = [net(*each.inputs.values()) for each in batches]
    before = int8_error(net.eval(), target, batches, tmp_path / "static")
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 60)
    with rounding(net, float_convolutions=0):
        for _ in range(60):
            for each, wanted in zip(batches, target, strict=True):
                optimiser.zero_grad()
                (net.train()(*each.inputs.values()) - wanted.clone()).square().mean().backward()
                optimiser.step()
            schedule.step()
    after = int8_error(net.eval(), target, batches, tmp_path / "aware")
    assert after < 0.5 * before
