"""Manifests: CSV files with the columns ``path``, ``label`` (or ``labels``) and ``group``, and optional ones.

``path`` is relative to the data folder. ``label`` may hold several, as in ``fight|crowd`` or ``fight;crowd``.
``group`` names the source that a clip was cut from. ``fold`` fixes the folds. ``start_s`` and ``end_s`` name
the stretch [start_s, end_s) of the file that is used, empty: from its start, to its end; one file may be
listed with several that do not overlap. ``weight`` says how much an example counts, 1 if empty. Further
columns are ignored.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

REQUIRED = ("path", "label", "group")
Row = dict[str, str | None]


class ManifestError(ValueError):
    """A manifest that cannot be used; the message names the file, the line and the column."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """[start_s, end_s) of a file, on presentation time."""

    start_s: float = 0.0
    end_s: float = math.inf

    @property
    def whole(self) -> bool:
        return self == WHOLE

    def of(self, duration_s: float) -> float:
        """How long it is in a file of this length; 0: it lies behind its end."""
        return max(0.0, min(self.end_s, duration_s) - self.start_s)


WHOLE = Stretch()


@dataclass(frozen=True, slots=True)
class Example:
    path: Path
    label: str
    group: str
    fold: str  # empty: not fixed
    stretch: Stretch = WHOLE
    weight: float = 1.0

    @property
    def labels(self) -> frozenset[str]:
        return frozenset(part.strip() for part in re.split(r"[|;]", self.label)) - {""}

    def name(self, root: Path) -> str:
        """Unique in its manifest; a stretch is written as a media fragment (W3C), ``a.mp4#t=1.5,3``."""
        path = self.path.relative_to(root).as_posix()
        if self.stretch.whole:
            return path
        end = "" if math.isinf(self.stretch.end_s) else f",{self.stretch.end_s:g}"
        return f"{path}#t={self.stretch.start_s:g}{end}"


def read_manifest(manifest: Path, root: Path) -> tuple[Example, ...]:
    """All examples, in the file's order. Raises ManifestError."""
    try:
        # Spreadsheets put a mark before the first column's name.
        with manifest.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            columns = ["label" if name == "labels" else name for name in reader.fieldnames or ()]
            _check_columns(manifest, columns)
            reader.fieldnames = columns
            examples = tuple(_example(manifest, reader.line_num, row, root) for row in reader)
    except FileNotFoundError as error:
        raise ManifestError(
            f"there is no manifest {manifest}; --data names the folder that holds it"
        ) from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ManifestError(f"{manifest}: {error}") from error
    _check_whole(manifest, examples)
    return examples


def _check_columns(manifest: Path, columns: Sequence[str]) -> None:
    missing = [name for name in REQUIRED if name not in columns]
    if missing:
        raise ManifestError(
            f"{manifest}: column(s) {', '.join(missing)} missing, found: {', '.join(columns)}"
        )
    if columns.count("label") > 1:
        raise ManifestError(f"{manifest}: there is a column label and a column labels; keep one")


def _example(manifest: Path, line: int, row: Row, root: Path) -> Example:
    place = f"{manifest}:{line}"
    for name in REQUIRED:
        if not (row[name] or "").strip():
            raise ManifestError(f"{place}: {name} is empty")
    path = root / str(row["path"])
    if Path(str(row["path"])).is_absolute():
        raise ManifestError(f"{place}: path {path} is absolute; paths are relative to {root}")
    if not path.is_file():
        raise ManifestError(f"{place}: no file {path}")
    weight = _number(place, row, "weight", 1.0)
    if not 0 < weight < math.inf:
        raise ManifestError(f"{place}: weight {weight:g} must be above 0")
    example = Example(
        path,
        str(row["label"]).strip(),
        str(row["group"]).strip(),
        (row.get("fold") or "").strip(),
        _stretch(place, row),
        weight,
    )
    if not example.labels:
        raise ManifestError(f"{place}: label {example.label!r} names none")
    return example


def _stretch(place: str, row: Row) -> Stretch:
    stretch = Stretch(_number(place, row, "start_s", 0.0), _number(place, row, "end_s", math.inf))
    if not 0 <= stretch.start_s < stretch.end_s:
        raise ManifestError(
            f"{place}: start_s {stretch.start_s:g} must be 0 or more, and below end_s {stretch.end_s:g}"
        )
    return stretch


def _number(place: str, row: Row, name: str, default: float) -> float:
    text = (row.get(name) or "").strip()
    try:
        return float(text) if text else default
    except ValueError:
        raise ManifestError(f"{place}: {name} {text!r} is no number") from None


def _check_whole(manifest: Path, examples: Sequence[Example]) -> None:
    if not examples:
        raise ManifestError(f"{manifest}: no examples")
    _check_stretches(manifest, examples)
    unfolded = [example for example in examples if not example.fold]
    if unfolded and len(unfolded) != len(examples):
        raise ManifestError(f"{manifest}: {len(unfolded)} of {len(examples)} examples have no fold")


def _check_stretches(manifest: Path, examples: Sequence[Example]) -> None:
    ordered = sorted(examples, key=lambda example: (example.path, example.stretch.start_s))
    for before, after in pairwise(ordered):
        if before.path != after.path:
            continue
        if before.stretch == after.stretch:
            raise ManifestError(f"{manifest}: {after.path} is listed twice")
        if before.group != after.group:
            raise ManifestError(
                f"{manifest}: {after.path} is of two groups, {before.group} and {after.group}"
            )
        if after.stretch.start_s < before.stretch.end_s:
            raise ManifestError(
                f"{manifest}: stretches of {after.path} overlap at {after.stretch.start_s:g} s"
            )
