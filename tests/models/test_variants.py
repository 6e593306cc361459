"""Variants of families that the registry's contract sees in one form only: gradients and export."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models.architectures import registry
from models.spec import VideoInput
from tests.models import foreign
from trainer.data.dataset import Batch
from trainer.export import check_parity, export_onnx

TINY = {"dimension": 32, "depth": 2, "heads": 2}
SMALL = {"depth": 10, "width": 8}

VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("frames_resnet", {"pooling": "mean", "depth": 50, "width": 8}),
    ("frames_resnet", {"pooling": "max", **SMALL}),
    ("frames_resnet", {"pooling": "difference", **SMALL}),
    ("i3d", SMALL),
    ("timesformer", {"attention": "space", **TINY}),
    ("timesformer", {"attention": "joint", **TINY}),
    ("timesformer", {"attention": "sparse", **TINY}),
    ("two_stream", {"fusion": "late", **SMALL}),
    ("two_stream", {"fusion": "early", **SMALL}),
    ("frames_resnet_av", {"fusion": "late", **SMALL}),
]


@pytest.fixture(params=VARIANTS, ids=[registry.describe(*variant) for variant in VARIANTS])
def variant(request: pytest.FixtureRequest) -> tuple[nn.Module, dict[str, Tensor]]:
    """The network, and two clips as it takes them."""
    name, arguments = request.param
    torch.manual_seed(0)
    video = VideoInput(frames=4, frame_rate_hz=8, height=64, width=64)
    network = registry.build(name, arguments, video, 2)
    return network, {key: inputs(3)[key] for key in registry.FAMILIES[name].inputs}


def inputs(count: int) -> dict[str, Tensor]:
    return {
        "clips": foreign.clips(count, 4, 64),
        "flow": foreign.clips(count, 3, 64)[..., :2].contiguous(),
        "log_mel": torch.rand(count, 40, 64),
        "has_audio": torch.ones(count),
    }


def test_gradients_reach_every_parameter(variant: tuple[nn.Module, dict[str, Tensor]]) -> None:
    network, given = variant
    if hasattr(network, "sound_dropout"):
        network.sound_dropout = 0.0  # type: ignore[assignment]
    network.train()(*given.values()).square().sum().backward()
    without = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert without == []


@pytest.mark.slow
def test_export_agrees(variant: tuple[nn.Module, dict[str, Tensor]], tmp_path: Path) -> None:
    network, given = variant
    foreign.unsettle(network)
    path = tmp_path / "network.onnx"
    export_onnx(network, _batch(given, 3), path)
    check_parity(network, path, [_batch(given, count) for count in (1, 3)], tolerance=1e-3)


def _batch(given: dict[str, Tensor], count: int) -> Batch:
    first = {name: tensor[:count] for name, tensor in given.items()}
    return Batch(first, torch.zeros(count, 2), np.zeros(count, np.int64))
