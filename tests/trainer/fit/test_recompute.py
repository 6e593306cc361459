"""Which modules are recomputed, and that less is kept."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from models.architectures import registry
from models.spec import VideoInput
from trainer.fit.recompute import blocks, recomputing

VIDEO = VideoInput(frames=4, frame_rate_hz=8, height=32, width=32)


def build(family: str, **arguments: Any) -> nn.Module:
    return registry.build(family, arguments, VIDEO, 1)


@pytest.mark.parametrize(
    ("family", "arguments", "name", "count"),
    [
        ("r2plus1d", {"depth": 18, "width": 4}, "BasicBlock", 8),
        ("frames_lite", {}, "Block", 16),
        ("videomae", {"dimension": 8, "heads": 2, "depth": 3}, "Block", 3),
        ("timesformer", {"dimension": 8, "heads": 2, "depth": 3}, "Block", 3),
        ("slowfast", {"depth": 18, "width": 8}, "Pathways", 5),
    ],
)
def test_blocks(family: str, arguments: dict[str, Any], name: str, count: int) -> None:
    assert [type(block).__name__ for block in blocks(build(family, **arguments))] == [name] * count


def kept_bytes(network: nn.Module) -> int:
    """What a forward pass keeps for the backward one; both are run."""
    sizes: list[int] = []

    def pack(value: Tensor) -> Tensor:
        sizes.append(value.nbytes)
        return value

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
        loss = network(torch.zeros(2, *VIDEO.clip_shape)).sum()
        kept = sum(sizes)
        loss.backward()
    return kept


def test_less_is_kept_and_afterwards_the_network_is_as_it_was() -> None:
    network = build("r2plus1d", depth=18, width=4)
    before = kept_bytes(network)
    with recomputing(blocks(network)):
        assert kept_bytes(network) < 0.7 * before
    assert kept_bytes(network) == before
    assert not any("forward" in module.__dict__ for module in network.modules())
