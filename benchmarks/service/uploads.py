"""Uploads that a worker has never seen: the same video, with other bytes at its end."""

from __future__ import annotations

import itertools
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from tests.synthesis import free_box


@dataclass
class Uploads:
    """Copies of videos in a folder that workers may read."""

    folder: Path
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    def fresh(self, original: Path, count: int) -> list[Path]:
        """Files with a digest that none had before. Those of the call before must have been answered."""
        return [self._renewed(original, self.folder / f"{number}-{original.name}") for number in range(count)]

    def clear(self) -> None:
        """Give the room back that long videos take."""
        for path in self.folder.iterdir():
            path.unlink()

    def _renewed(self, original: Path, path: Path) -> Path:
        if not path.exists():
            shutil.copyfile(original, path)
        with path.open("r+b") as file:
            file.seek(original.stat().st_size)
            file.write(free_box(next(self._numbers)))
        return path
