"""The worst mistakes as contact sheets, for whoever may see the footage: they stay in the report's folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt

from models.spec import VideoInput
from trainer.evaluation.outside import Mistake
from worker.media.decode import decode_file
from worker.media.sampling import Uniform
from worker.media.types import DecodeRequest

FRAMES = 6  # over the whole video
ONE_FRAME = VideoInput(frames=1, frame_rate_hz=30, height=160, width=160)


def draw_mistakes(mistakes: Sequence[Mistake], folder: Path) -> dict[str, str]:
    """Write a PNG for each mistake; returns its alternative text by file name."""
    texts = {}
    for place, mistake in enumerate(mistakes, 1):
        kind = "missed" if mistake.positive else "false alarm"
        text = f"{kind}, probability {mistake.probability:.2f}: {mistake.path.name}"
        name = f"mistake-{place:02}.png"
        _sheet(mistake.path, text, folder / name)
        texts[name] = text
    return texts


def _sheet(path: Path, title: str, file: Path) -> None:
    frames = decode_file(path, DecodeRequest(Uniform(FRAMES), ONE_FRAME)).clips[:, 0]
    figure, every = plt.subplots(1, FRAMES, figsize=(1.6 * FRAMES, 2.0), layout="constrained")
    for axes in every:
        axes.axis("off")
    for axes, frame in zip(every, frames, strict=False):
        axes.imshow(frame)
    figure.suptitle(title, fontsize=10)
    figure.savefig(file, dpi=110)
    plt.close(figure)
