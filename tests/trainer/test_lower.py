"""A graph without 3-D convolutions computes what the graph with them does."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from tests.trainer.small import batch, network
from trainer.data.dataset import Batch
from trainer.export import export_onnx, feed, session
from trainer.lower import CannotLower, lower


class OneConv(nn.Module):
    """(N, T, H, W, 3) uint8 to (N, C) through one 3-D convolution, a ReLU and a mean."""

    def __init__(self, conv: nn.Conv3d) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, clips: Tensor) -> Tensor:
        return torch.relu(self.conv(clips.float().permute(0, 4, 1, 2, 3) / 255)).mean((2, 3, 4))


def differing_sizes() -> Batch:
    clips = torch.randint(0, 256, (2, 6, 18, 14, 3), dtype=torch.uint8)
    return Batch({"clips": clips}, torch.zeros(2, 1), np.zeros(2, np.int64))


def assert_same(target: Path, source: Path, given: Batch) -> None:
    """By ONNX Runtime's own kernels, to rounding."""
    found, expected = (session(path).run(None, dict(feed(given)))[0] for path in (target, source))
    np.testing.assert_allclose(found, expected, atol=1e-6)


def kernels(path: Path) -> list[int]:
    """Dimensions of each convolution's weights."""
    graph = onnx.load(str(path)).graph
    dims = {weight.name: len(weight.dims) for weight in graph.initializer}
    return [dims[node.input[1]] for node in graph.node if node.op_type == "Conv"]


# fmt: off
KINDS = [
    ("space", {"kernel_size": (1, 3, 3), "stride": (1, 2, 2), "padding": (0, 1, 1)}),
    ("space of every second frame", {"kernel_size": 1, "stride": 2}),
    ("time", {"kernel_size": (3, 1, 1), "stride": (2, 1, 1), "padding": (1, 0, 0), "bias": False}),
    ("time, strided space", {"kernel_size": (3, 1, 1), "stride": (1, 2, 2), "padding": (1, 0, 0)}),
    ("whole", {"kernel_size": (5, 7, 7), "stride": (1, 2, 2), "padding": (2, 3, 3)}),
    ("whole, strided time", {"kernel_size": (3, 3, 3), "stride": (2, 1, 1), "padding": (1, 0, 1)}),
    ("depthwise", {"kernel_size": (3, 3, 3), "padding": 1, "groups": 3}),
]
# fmt: on


@pytest.mark.parametrize(("name", "conv"), KINDS, ids=[name for name, _ in KINDS])
def test_every_kind_of_convolution(name: str, conv: dict[str, object], tmp_path: Path) -> None:
    torch.manual_seed(0)
    source, target = tmp_path / "3d.onnx", tmp_path / "2d.onnx"
    export_onnx(OneConv(nn.Conv3d(3, 6, **conv)), differing_sizes(), source)  # type: ignore[arg-type]
    assert lower(source, target)
    assert kernels(source) == [5]
    assert kernels(target) == [4]
    assert_same(target, source, differing_sizes())


def test_a_factorised_network_gives_the_same_logits_and_is_lowered_only_once(tmp_path: Path) -> None:
    source, target = tmp_path / "3d.onnx", tmp_path / "2d.onnx"
    export_onnx(network(0), batch(0), source)
    assert lower(source, target)
    assert set(kernels(source)) == {5}
    assert set(kernels(target)) == {4}
    assert_same(target, source, batch(1))
    assert not lower(target, tmp_path / "again.onnx")
    assert not (tmp_path / "again.onnx").exists()


def test_dilation_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "3d.onnx"
    export_onnx(OneConv(nn.Conv3d(3, 2, 3, dilation=2)), differing_sizes(), source)
    with pytest.raises(CannotLower, match="dilation"):
        lower(source, tmp_path / "2d.onnx")
