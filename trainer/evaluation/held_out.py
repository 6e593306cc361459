"""Held-out scores: what every figure is computed from. Small, and committed beside the weights.

``held_out.json`` has a line for each video::

    {"path": "a.mp4", "group": "a", "fold": "0", "truth": [1], "fp32": [[0.5], [1.2]], "int8": [[0.5], [1.3]]}

``fp32`` and ``int8``: for each clip the logit of each label. A line of ``elsewhere.json``, which is of the
further sets, also has the video's manifest: ``"set": "further.csv"``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

HELD_OUT_FILE = "held_out.json"
METRICS_FILE = "metrics.json"  # beside it: configuration, figures, speeds
CARD_FILE = "README.md"
DIGITS = 4

Logits = npt.NDArray[np.float32]


class HeldOutError(ValueError):
    """Held-out scores that cannot be used; the message names the file or the video."""


@dataclass(frozen=True)
class HeldOut:
    """For each video its clips' logits by the network that never saw the video's fold."""

    labels: tuple[str, ...]  # L
    paths: tuple[str, ...]  # relative to the folder of the data
    groups: tuple[str, ...]
    folds: tuple[str, ...]
    targets: npt.NDArray[np.float32] = field(repr=False)  # (videos, L)
    scores: tuple[Logits, ...] = field(repr=False)  # each (N, L)
    int8_scores: tuple[Logits, ...] = field(repr=False)  # the same by the quantised networks
    sets: tuple[str, ...] = ()  # the manifest of each video of a further set; none for the main set's

    def write(self, file: Path) -> None:
        """Sorted by path, a line a video, so that two versions can be compared by ``diff``."""
        order = sorted(range(len(self.paths)), key=self.paths.__getitem__)
        lines = ",\n".join(json.dumps(self._row(index)) for index in order)
        file.write_text(f'{{"labels": {json.dumps(list(self.labels))}, "videos": [\n{lines}\n]}}\n')

    def only(self, rows: Sequence[int]) -> HeldOut:
        """These videos, in this order."""
        return HeldOut(
            self.labels,
            tuple(self.paths[i] for i in rows),
            tuple(self.groups[i] for i in rows),
            tuple(self.folds[i] for i in rows),
            self.targets[list(rows)],
            tuple(self.scores[i] for i in rows),
            tuple(self.int8_scores[i] for i in rows),
            tuple(self.sets[i] for i in rows) if self.sets else (),
        )

    def _row(self, index: int) -> dict[str, Any]:
        return {
            "path": self.paths[index],
            **({"set": self.sets[index]} if self.sets else {}),
            "group": self.groups[index],
            "fold": self.folds[index],
            "truth": [None if np.isnan(value) else int(value) for value in self.targets[index]],
            "fp32": _rounded(self.scores[index]),
            "int8": _rounded(self.int8_scores[index]),
        }


def read_held_out(file: Path) -> HeldOut:
    """Raises HeldOutError when there is no such file or it is not what ``HeldOut.write`` writes."""
    try:
        found = json.loads(file.read_text())
        rows = found["videos"]
        labels = tuple(found["labels"])
        return HeldOut(
            labels,
            tuple(str(row["path"]) for row in rows),
            tuple(str(row["group"]) for row in rows),
            tuple(str(row["fold"]) for row in rows),
            np.array([row["truth"] for row in rows], np.float32).reshape(len(rows), len(labels)),
            _columns(rows, "fp32", len(labels)),
            _columns(rows, "int8", len(labels)),
            tuple(str(row["set"]) for row in rows if "set" in row),
        )
    except FileNotFoundError as error:
        raise HeldOutError(
            f"there is no {file}; an artifact has held-out scores once `sluice train` has written it"
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise HeldOutError(f"{file}: not held-out scores: {error!r}") from error


def matched(first: HeldOut, second: HeldOut) -> HeldOut:
    """``second`` in the order of ``first``.

    Raises HeldOutError unless both are of the same videos, in the same folds, and know the first label.
    """
    place = {path: index for index, path in enumerate(second.paths)}
    different = set(first.paths) ^ set(place)
    if different:
        raise HeldOutError(
            f"{len(different)} videos were scored by one of the two models only, such as {min(different)}; "
            "train both with the same manifest"
        )
    same = second.only([place[path] for path in first.paths])
    for path, fold, other in zip(first.paths, first.folds, same.folds, strict=True):
        if fold != other:
            raise HeldOutError(
                f"{path} is in fold {fold!r} of one model and {other!r} of the other: figures of the two "
                "together need the same folds"
            )
    label = first.labels[0]
    if label not in same.labels:
        raise HeldOutError(f"there are no scores of {label!r}, only of {', '.join(map(repr, same.labels))}")
    if not np.array_equal(first.targets[:, 0], same.targets[:, same.labels.index(label)]):
        raise HeldOutError(f"the two models were judged by different truths of {label!r}")
    return same


def _columns(rows: Sequence[dict[str, Any]], name: str, labels: int) -> tuple[Logits, ...]:
    return tuple(np.array(row[name], np.float32).reshape(-1, labels) for row in rows)


def _rounded(logits: Logits) -> list[list[float]]:
    return [[round(float(value), DIGITS) for value in clip] for clip in logits]
