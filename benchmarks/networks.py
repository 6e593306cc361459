"""The networks that ``benchmarks.inference`` times, each as torch, as ONNX files and as Sluice serves it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import torch
from torch.utils.flop_counter import FlopCounterMode

from models.architectures import registry
from models.spec import VideoInput
from trainer.config import Quantise
from trainer.data.batch import Batch
from trainer.export import export_onnx
from trainer.fit.start import channels_last
from trainer.variants import export_variants
from worker.inference.registry import find_artifact
from worker.inference.session import open_session
from worker.inference.types import Inputs

PAPER = VideoInput(frames=16, frame_rate_hz=10, height=112, width=112)

Feed = dict[str, npt.NDArray[Any]]  # as ONNX Runtime takes it, in the order in which torch does
Run = Callable[[Feed], object]


@dataclass(frozen=True)
class Network:
    name: str
    torch: torch.nn.Module
    files: Mapping[str, Path]  # variant -> ONNX
    sluice: Run
    video: VideoInput
    sound_shape: tuple[int, int] | None = None  # frames, mels; None: it does not hear

    def feed(self, count: int) -> Feed:
        """Noise: no network here looks at less because of what it sees."""
        random = np.random.default_rng(0)
        feed: Feed = {"clips": random.integers(0, 256, (count, *self.video.clip_shape), dtype=np.uint8)}
        if self.sound_shape is not None:
            feed["log_mel"] = random.standard_normal((count, *self.sound_shape), dtype=np.float32)
            feed["has_audio"] = np.ones(count, np.float32)
        return feed

    @property
    def gflop_per_clip(self) -> float:
        """Of convolutions and matrices, multiply-adds counted as two operations."""
        inputs = [torch.from_numpy(array) for array in self.feed(1).values()]
        with torch.inference_mode(), FlopCounterMode(display=False) as counter:
            self.torch(*inputs)
        return float(counter.get_total_flops()) / 1e9


def served(name: str, threads: int) -> Network:
    """A shipped artifact. Torch has the same network with fresh weights, as weights do not change time."""
    artifact = find_artifact(name)
    spec = artifact.spec
    architecture = json.loads((artifact.folder / "metrics.json").read_text())["config"]["architecture"]
    network = registry.build(architecture["name"], architecture["arguments"], spec.video, len(spec.labels))
    session = open_session(artifact, threads=threads)
    return Network(
        f"{spec.name} {spec.version}, as served",
        channels_last(network.eval()),
        {variant.name: artifact.path(variant) for variant in spec.variants},
        lambda feed: session.run(Inputs(**feed)).logits,
        spec.video,
        (spec.audio.frames, spec.audio.mels) if spec.audio else None,
    )


def paper(folder: Path, threads: int) -> Network:
    """R(2+1)D-18 at its full size (Tran et al. 2018), which no shipped artifact has."""
    torch.manual_seed(0)
    network = registry.build("r2plus1d", {"depth": 18}, PAPER, 1).eval()
    random = np.random.default_rng(1)
    batches = [random.integers(0, 256, (2, *PAPER.clip_shape), dtype=np.uint8) for _ in range(2)]
    example = Batch({"clips": torch.from_numpy(batches[0])}, torch.zeros(2, 1), np.zeros(2, np.int64))
    fp32 = folder / "r2plus1d.onnx"
    export_onnx(network, example, fp32)
    files = export_variants(fp32, folder, [{"clips": clips} for clips in batches], Quantise())
    run = onnx_runtime(files["int8"], "OpenVINOExecutionProvider", threads)
    return Network("R(2+1)D-18, 16x112x112", channels_last(network), files, run, PAPER)


def onnx_runtime(file: Path, provider: str, threads: int) -> Run:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    settings = {"num_of_threads": str(threads)} if provider == "OpenVINOExecutionProvider" else {}
    session = ort.InferenceSession(str(file), options, providers=[(provider, settings)])
    return lambda feed: session.run(None, feed)
