"""What the forms of a network cost beside each other, and what INT8's calibration changes.

    python -m benchmarks.variants [--data DIR] [--threads N] [--runs N]

Times are of networks with fresh weights, which cost what trained ones cost; the files of one network, and
of itself pruned, take turns, so their ratios hold on a machine that does other work, and milliseconds hardly.
With ``--data``, the folder of the training data, the shipped filter is quantised in several ways on 32 videos
and compared with its own FP32 on 64 others: agreement, not accuracy.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from benchmarks.report import show, write
from models.architectures import registry
from models.spec import VideoInput, read_spec
from trainer.calibrate import Calibration
from trainer.cli import ARTIFACTS, DEFAULT_CACHE
from trainer.config import Gate, Quantise, TrainConfig, read_config
from trainer.data.dataset import Batch, VideoSet
from trainer.data.rolls import ClipCache
from trainer.export import Feed, export_onnx, feed
from trainer.prune import pruned_arguments
from trainer.quantize import check_agreement, quantise
from trainer.speed import installed, measure_on
from trainer.variants import Files, export_variants

VIDEO = VideoInput(frames=8, frame_rate_hz=5, height=112, width=112)
NETWORKS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "r2plus1d_lite": ("r2plus1d_lite", {}),
    "slim r2plus1d": ("r2plus1d", {"depth": 10, "width": 24}),
}
PRUNED = 0.5
CALIBRATING, COMPARED = 32, 64  # videos
CALIBRATIONS = {
    "min and max": Quantise(),
    "min and max, symmetric": Quantise(symmetric=True),
    "percentile 99.99": Quantise(calibration="percentile", percentile=99.99),
    "percentile 99.9": Quantise(calibration="percentile", percentile=99.9),
    "entropy": Quantise(calibration="entropy"),
    "min and max, nothing kept in FP32 at the entrance": Quantise(float_convolutions=0),
}
CONFIGS = Path(__file__).resolve().parent.parent / "trainer" / "configs"


@click.command()
@click.option("--data", type=click.Path(path_type=Path), help="Folder of the filter's training data.")
@click.option("--threads", default=1, show_default=True)
@click.option("--runs", default=40, show_default=True)
def main(data: Path | None, threads: int, runs: int) -> None:
    torch.manual_seed(0)
    networks = [
        row
        for name, (family, arguments) in NETWORKS.items()
        for row in _timed(name, family, arguments, threads, runs)
    ]
    _show("Variants", networks)
    shape = {"input": list(VIDEO.clip_shape), "threads": threads, "runs": runs}
    click.echo(write("variants", {**shape, "networks": networks}))
    if data:
        calibrations = _calibrated(data)
        _show("Shipped filter, INT8 beside FP32", calibrations)
        click.echo(write("calibrations", {"calibrations": calibrations}))


def _show(title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    show(title, list(rows[0]), [tuple(row.values()) for row in rows])


def _timed(
    name: str, family: str, arguments: dict[str, Any], threads: int, runs: int
) -> list[dict[str, Any]]:
    """Every form of the network and of itself pruned; times beside FP32 of the whole network."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        files = {
            (form, share): file
            for share in (0.0, PRUNED)
            for form, file in _forms(family, arguments, share, Path(folder) / f"{share}").items()
        }
        by_name = {f"{form} {share}": file for (form, share), file in files.items()}
        for provider in installed():
            speeds = measure_on(provider, by_name, threads, runs)
            for (form, share), speed in zip(files, speeds, strict=True):
                rows.append(
                    {
                        "network": name,
                        "pruned": share,
                        "variant": form,
                        "provider": provider,
                        "megabytes": round(files[form, share].stat().st_size / 1e6, 2),
                        "least_ms": speed.least_ms_per_clip,
                        "median_ms": speed.median_ms_per_clip,
                        "times_fp32": round(speed.median_ms_per_clip / speeds[0].median_ms_per_clip, 3),
                    }
                )
    return rows


def _forms(family: str, arguments: dict[str, Any], share: float, folder: Path) -> Files:
    folder.mkdir()
    shape = pruned_arguments(_config(family, arguments, share))
    network = registry.build(family, shape, VIDEO, 1)
    export_onnx(network, _noise(2), folder / "net.onnx")
    return export_variants(folder / "net.onnx", folder, [feed(_noise(1)) for _ in range(4)], Quantise())


def _config(family: str, arguments: dict[str, Any], share: float) -> TrainConfig:
    return TrainConfig.model_validate(
        {
            "name": "benchmark",
            "version": "1",
            "role": "filter",
            "data": {"manifest": "none"},
            "labels": [{"name": "any", "positives": ["any"]}],
            "video": VIDEO,
            "architecture": {"name": family, "arguments": arguments},
            "prune": {"share": share},
        }
    )


def _noise(clips: int) -> Batch:
    pixels = torch.randint(0, 256, (clips, *VIDEO.clip_shape), dtype=torch.uint8)
    return Batch({"clips": pixels}, torch.zeros(clips, 1), np.zeros(clips, np.int64))


def _calibrated(data: Path) -> list[dict[str, Any]]:
    folder = max((ARTIFACTS / "violence-filter").iterdir())
    spec = read_spec(folder)
    config = read_config(CONFIGS / "filter.yaml")
    config = config.model_copy(
        update={"video": spec.video, "data": config.data.model_copy(update={"root": data})}
    )
    videos = VideoSet.read(config, ClipCache(DEFAULT_CACHE.expanduser()))
    order = np.random.default_rng(0).permutation(len(videos.examples))
    seen, others = (
        [feed(videos.video(int(i))) for i in part]
        for part in (order[:CALIBRATING], order[CALIBRATING : CALIBRATING + COMPARED])
    )
    fp32 = folder / spec.variant_for("reference").file
    calibration = Calibration(spec.labels[0].temperature, spec.labels[0].bias)
    return [_agreement(name, how, fp32, seen, others, calibration) for name, how in CALIBRATIONS.items()]


def _agreement(
    name: str, how: Quantise, fp32: Path, seen: list[Feed], others: list[Feed], calibration: Calibration
) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as place:
        int8 = Path(place) / "int8.onnx"
        quantise(fp32, int8, seen, how)
        found = check_agreement(fp32, int8, others, [calibration], Gate(int8_probability=1, int8_agreement=0))
    return {
        "activations": name,
        "mean_difference": round(found.mean_probability_difference, 4),
        "worst_difference": round(found.worst_probability_difference, 4),
        "same_side": round(found.same_side, 4),
    }


if __name__ == "__main__":
    main()
