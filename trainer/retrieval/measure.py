"""One report: every kind of vector on one set, and on copies of its videos."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from trainer.data.manifest import Example
from trainer.retrieval.copies import COPIES, write_copy
from trainer.retrieval.features import APPEARANCE, BOTH, EMBEDDING, MOTION, Source, Values, vectors_of
from trainer.retrieval.score import Vectors, copies_found, retrieval, unit


def measure(
    examples: Sequence[Example], sources: Sequence[Source], log: Callable[[str], None]
) -> dict[str, Any]:
    """JSON: for every kind of vector its figures."""
    labels, groups = [each.label for each in examples], [each.group for each in examples]
    files = [each.path for each in examples]
    report: dict[str, Any] = {
        "videos": len(files),
        "groups": len(set(groups)),
        "labels": len(set(labels)),
        "features": {},
    }
    with tempfile.TemporaryDirectory() as folder:
        copies = {copy.name: _copies(files, Path(folder), copy.name) for copy in COPIES}
        for source in sources:
            originals = vectors_of(files, source)
            again = {kind: vectors_of(made, source) for kind, made in copies.items()}
            for name in (MOTION, APPEARANCE, BOTH) if MOTION in originals else (EMBEDDING,):
                vectors = comparable(originals, originals, name)
                report["features"][name] = {
                    "of": source.described,
                    "size": vectors.shape[1],
                    "retrieval": asdict(retrieval(vectors, labels, groups)),
                    "copies": {
                        kind: asdict(copies_found(vectors, comparable(found, originals, name), groups))
                        for kind, found in again.items()
                    },
                }
                log(f"{name}: {report['features'][name]['retrieval']['mean_average_precision']}")
    return report


def comparable(values: dict[str, Values], originals: dict[str, Values], name: str) -> Vectors:
    """(N, E) of length 1. Raw features are standardised by the originals, without a look at labels.

    Motion and appearance together: each of length 1 first, so that both count the same.
    """
    if name == BOTH:
        parts = [comparable(values, originals, each) for each in (MOTION, APPEARANCE)]
        return unit(np.concatenate(parts, axis=1))
    if name == EMBEDDING:
        return values[name]
    spread = np.maximum(originals[name].std(axis=0), 1e-6)
    return unit((values[name] - originals[name].mean(axis=0)) / spread)


def _copies(files: Sequence[Path], folder: Path, kind: str) -> list[Path]:
    copy = next(each for each in COPIES if each.name == kind)
    made = [folder / f"{kind}-{number}.mp4" for number in range(len(files))]
    for source, target in zip(files, made, strict=True):
        write_copy(source, target, copy)
    return made
