"""Synthetic sample clips for the demo: cheap to make, nobody's property."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[np.uint8]  # (H, W, 3), RGB

WIDTH, HEIGHT, FPS = 320, 240, 25
SAMPLE_RATE_HZ = 16_000


def write_samples(folder: Path) -> list[Path]:
    """Three clips: a ball that moves slowly, noise that jumps about, a dark scene with a tone."""
    return [
        write_clip(folder / "synthetic-ball.mp4", 4.0, _ball),
        write_clip(folder / "synthetic-noise.mp4", 3.0, _noise),
        write_clip(folder / "synthetic-tone.mp4", 5.0, _dusk, tone_hz=440.0),
    ]


def write_clip(
    path: Path, duration_s: float, picture: Callable[[float], Picture], tone_hz: float | None = None
) -> Path:
    """Encode ``picture(t)`` for t in [0, duration_s) as H.264, with a sine tone when one is given."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=FPS)
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        audio = container.add_stream("aac", rate=SAMPLE_RATE_HZ) if tone_hz else None
        for index in range(round(duration_s * FPS)):
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture(index / FPS), format="rgb24")))
        container.mux(video.encode(None))
        if audio is not None and tone_hz is not None:
            frame = av.AudioFrame.from_ndarray(_sine(duration_s, tone_hz)[None], "fltp", "mono")
            frame.sample_rate, frame.time_base, frame.pts = SAMPLE_RATE_HZ, Fraction(1, SAMPLE_RATE_HZ), 0
            container.mux(audio.encode(frame))
            container.mux(audio.encode(None))
    return path


def _ball(t: float) -> Picture:
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    centre = WIDTH * (0.2 + 0.15 * t), HEIGHT * (0.5 + 0.2 * np.sin(2 * t))
    inside = (columns - centre[0]) ** 2 + (rows - centre[1]) ** 2 < 24**2
    return np.where(inside[..., None], (235, 120, 40), (60, 90, 140)).astype(np.uint8)


def _noise(t: float) -> Picture:
    blocks = np.random.default_rng(int(t * FPS)).integers(0, 256, (HEIGHT // 16, WIDTH // 16, 3), np.uint8)
    return blocks.repeat(16, axis=0).repeat(16, axis=1)


def _dusk(t: float) -> Picture:
    light = 20.0 + 40.0 * np.linspace(1.0, 0.0, HEIGHT)[:, None] * (1.0 - 0.1 * t)
    return (light[..., None] * np.ones((1, WIDTH, 1)) * (0.9, 0.8, 1.3)).clip(0, 255).astype(np.uint8)


def _sine(duration_s: float, tone_hz: float) -> npt.NDArray[np.float32]:
    times_s = np.arange(round(duration_s * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    return (0.2 * np.sin(2 * np.pi * tone_hz * times_s)).astype(np.float32)
