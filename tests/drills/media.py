"""Videos that cost little to judge: each upload has a digest of its own, so none is known to the cache."""

from __future__ import annotations

import csv
import itertools
import struct
from pathlib import Path

from tests import parts
from tests.synthesis import Video, free_box, moving_square

CLIPS = 40  # real ones are taken in turn
SET = "scfd"
BROKEN = b"\x00\x00\x00\x18ftypmp42" + bytes(200)  # begins as a video, and holds none


class Media:
    """Writes them into a folder that workers may read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self._numbers = itertools.count()
        self._originals = _real_clips() or [Video(duration_s=1.0, picture=moving_square).make()]

    def fresh(self, padding_bytes: int = 0) -> Path:
        """A video with bytes that none had before; ``padding_bytes`` of them mean nothing."""
        number = next(self._numbers)
        original = self._originals[number % len(self._originals)]
        return self._write(number, original + free_box(number) + _padding(padding_bytes))

    def broken(self) -> Path:
        number = next(self._numbers)
        return self._write(number, BROKEN + free_box(number))

    def clear(self) -> None:
        for path in self.folder.iterdir():
            path.unlink()

    def _write(self, number: int, data: bytes) -> Path:
        path = self.folder / f"{number}.mp4"
        path.write_bytes(data)
        return path


def _padding(size_bytes: int) -> bytes:
    """One more box that readers skip, as large as that."""
    return struct.pack(">I4s", 8 + size_bytes, b"free") + bytes(size_bytes) if size_bytes else b""


def _real_clips() -> list[bytes]:
    root = parts.folder() / "data"
    manifest = root / SET / "manifest.csv"
    if not manifest.is_file():
        return []
    with manifest.open(newline="") as file:
        paths = [root / row["path"] for row in itertools.islice(csv.DictReader(file), CLIPS)]
    return [path.read_bytes() for path in paths]
