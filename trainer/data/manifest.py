"""Manifests: CSV files with the columns ``path``, ``label``, ``group`` and, where folds are fixed, ``fold``.

``label`` may hold several, as in ``fight|crowd``; further columns are ignored. ``path`` is relative to the
data folder; ``group`` names the source that a clip was cut from.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

REQUIRED = ("path", "label", "group")


class ManifestError(ValueError):
    """A manifest that cannot be used; the message names the file, the line and the column."""


@dataclass(frozen=True, slots=True)
class Example:
    path: Path
    label: str
    group: str
    fold: str  # empty: not fixed

    @property
    def labels(self) -> frozenset[str]:
        return frozenset(part.strip() for part in self.label.split("|"))


def read_manifest(manifest: Path, root: Path) -> tuple[Example, ...]:
    """All examples, in the file's order. Raises ManifestError."""
    try:
        with manifest.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            _check_columns(manifest, reader.fieldnames or ())
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


def _example(manifest: Path, line: int, row: dict[str, str | None], root: Path) -> Example:
    for name in REQUIRED:
        if not (row[name] or "").strip():
            raise ManifestError(f"{manifest}:{line}: {name} is empty")
    path = root / str(row["path"])
    if not path.is_file():
        raise ManifestError(f"{manifest}:{line}: no file {path}")
    return Example(
        path, str(row["label"]).strip(), str(row["group"]).strip(), (row.get("fold") or "").strip()
    )


def _check_whole(manifest: Path, examples: Sequence[Example]) -> None:
    if not examples:
        raise ManifestError(f"{manifest}: no examples")
    seen: set[Path] = set()
    for example in examples:
        if example.path in seen:
            raise ManifestError(f"{manifest}: {example.path} is listed twice")
        seen.add(example.path)
    unfolded = [example for example in examples if not example.fold]
    if unfolded and len(unfolded) != len(examples):
        raise ManifestError(f"{manifest}: {len(unfolded)} of {len(examples)} examples have no fold")
