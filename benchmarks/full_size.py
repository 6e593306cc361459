"""Networks of papers at full size, as artifacts with random weights: time does not depend on them.

Needs torch, and no video decoder.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from models.architectures import registry
from models.spec import Label, ModelSpec, Variant, VideoInput, file_sha256, write_spec
from trainer.data.batch import Batch
from trainer.export import export_onnx
from trainer.half import to_half
from worker.inference.registry import Artifact, find_artifact


@dataclass(frozen=True)
class FullSize:
    name: str
    family: str
    arguments: Mapping[str, Any]
    video: VideoInput


def _video(frames: int, side: int) -> VideoInput:
    return VideoInput(frames=frames, frame_rate_hz=10, height=side, width=side)


# SlowFast 4x16 takes 4 and 32 frames (Feichtenhofer et al. 2019); R(2+1)D-18 16 (Tran et al. 2018).
PAPERS = (
    FullSize("slowfast-r50", "slowfast", {"depth": 50, "alpha": 8}, _video(32, 256)),
    FullSize("r2plus1d-18", "r2plus1d", {"depth": 18}, _video(16, 112)),
)
SMALL = (FullSize("r2plus1d-small", "r2plus1d", {"depth": 10, "width": 8}, _video(4, 32)),)  # in seconds


def write_artifact(network: FullSize, root: Path) -> Artifact:
    """``<root>/<name>/0/`` with an FP32 and an FP16 variant, as an artifact that the worker serves."""
    folder = root / network.name / "0"
    folder.mkdir(parents=True)
    torch.manual_seed(0)
    built = registry.build(network.family, network.arguments, network.video, 1)
    pixels = torch.randint(0, 256, (2, *network.video.clip_shape), dtype=torch.uint8)
    _settle(built, pixels)
    batch = Batch({"clips": pixels}, torch.zeros(2, 1), np.zeros(2, np.int64))
    export_onnx(built, batch, folder / "fp32.onnx")
    to_half(folder / "fp32.onnx", folder / "fp16.onnx")
    label = Label(name="any", threshold=0.5, band=(0.3, 0.7), training_prevalence=0.5)
    spec = ModelSpec(
        name=network.name,
        version="0",
        role="filter",
        architecture=registry.describe(network.family, network.arguments),
        labels=(label,),
        video=network.video,
        variants=(
            _variant(folder / "fp32.onnx", "fp32", ()),
            _variant(folder / "fp16.onnx", "fp16", ("cuda", "tensorrt")),
        ),
        trained_on="nothing: random weights, to measure time",
    )
    write_spec(folder, spec)
    return find_artifact(network.name, root)


def _settle(network: nn.Module, pixels: torch.Tensor) -> None:
    """Let each norm take its statistics from these clips: without, values grow beyond what FP16 holds."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm3d | nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        network.train()(pixels)
    network.eval()


def _variant(file: Path, name: Any, providers: tuple[str, ...]) -> Variant:
    return Variant(
        name=name,
        file=file.name,
        sha256=file_sha256(file),
        size_bytes=file.stat().st_size,
        precision=name,
        providers=providers,
    )
