"""What mutations start from: small files of every format at hand, most of them MP4 and Matroska."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import NamedTuple

from tests.hostile.boxes import parts_of
from tests.synthesis import Video

LARGEST_BYTES = 200_000
_STRUCTURED_SHARE = 0.7


class File(NamedTuple):
    name: str
    data: bytes


def made() -> list[File]:
    """Synthesised, so always there."""
    short = Video(duration_s=0.6, size=(64, 48), gop=5)
    heard = replace(short, tone_hz=440)
    videos = {
        "h264.mp4": heard,
        "fragments.mp4": replace(short, container_options=(("movflags", "frag_keyframe+empty_moov"),)),
        "turned.mov": replace(short, container="mov", rotation=90),
        "vp8.webm": replace(heard, codec="libvpx", container="webm", sound_codec="libopus"),
        "h264.mkv": replace(heard, container="matroska"),
        "mpeg4.avi": replace(short, codec="mpeg4", container="avi"),
        "h264.ts": replace(short, container="mpegts"),
    }
    return [File(name, video.make()) for name, video in videos.items()]


def found(folder: Path) -> list[File]:
    """The files of a corpus."""
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return [
        File(str(path.relative_to(folder)), path.read_bytes())
        for path in paths
        if path.suffix not in (".csv", ".md")
    ]


def small(folder: Path) -> list[File]:
    """Those that are small and have video, by what the corpus' manifest says."""
    with (folder / "manifest.csv").open(newline="") as manifest:
        seen = {row["file"] for row in csv.DictReader(manifest) if row["nv"] not in ("", "0")}
    return [file for file in found(folder) if file.name in seen and len(file.data) <= LARGEST_BYTES]


class Picker:
    """Draws seeds; those with boxes or elements are drawn more often."""

    def __init__(self, seeds: Sequence[File]) -> None:
        self._all = list(seeds)
        self._structured = [seed for seed in seeds if parts_of(seed.data)] or self._all

    def draw(self, random: Random) -> File:
        return random.choice(self._structured if random.random() < _STRUCTURED_SHARE else self._all)
