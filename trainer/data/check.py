"""What a manifest holds, and what is wrong with it."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from models.spec import VideoInput
from trainer.data.footage import Within, read_sound
from trainer.data.manifest import Example, ManifestError
from worker.errors import MediaError, NoVideo
from worker.media.decode import decode_file
from worker.media.sampling import At
from worker.media.types import DecodeRequest, MediaInfo

GLANCE = VideoInput(frames=1, frame_rate_hz=1, height=32, width=32)
GLANCE_HZ = 16_000
SHOWN = 5  # examples of one finding


@dataclass(frozen=True)
class Seen:
    """One file that can be read; ``info`` is None of a file without video."""

    info: MediaInfo | None
    sha256: str


def look(examples: Sequence[Example], log: Callable[[str], None]) -> tuple[dict[Path, Seen], dict[str, str]]:
    """Each file that can be read, and of the examples that cannot, by what they say of themselves, why."""
    seen: dict[Path, Seen] = {}
    broken: dict[str, str] = {}
    for number, example in enumerate(examples, 1):
        try:
            found = Seen(
                _glance(example), seen[example.path].sha256 if example.path in seen else _digest(example)
            )
            seen[example.path] = found
        except (ManifestError, MediaError) as error:
            broken[f"{example.path}{_from(example)}"] = str(error)
        if number % 200 == 0:
            log(f"read {number} of {len(examples)}")
    return seen, broken


def counts(examples: Sequence[Example]) -> Iterator[str]:
    """Lines: examples and sources of each label and fold."""
    yield f"{len(examples)} examples of {len({example.path for example in examples})} files, " + _sources(
        examples
    )
    labels = Counter(label for example in examples for label in example.labels)
    for label, count in sorted(labels.items()):
        yield f"  {label}: {count}, " + _sources([example for example in examples if label in example.labels])
    for fold in sorted({example.fold for example in examples} - {""}):
        members = [example for example in examples if example.fold == fold]
        yield f"  fold {fold}: {len(members)}, " + _sources(members)
    largest = max(Counter(example.group for example in examples).items(), key=lambda item: item[1])
    yield f"  the largest source, {largest[0]}, has {largest[1]}"


def torn(examples: Sequence[Example]) -> Iterator[str]:
    """Lines: sources that stand in several folds, or labels that stand in one source only."""
    folds = defaultdict(set)
    for example in examples:
        folds[example.group].add(example.fold)
    several = sorted(group for group, found in folds.items() if len(found) > 1)
    if several:
        yield f"source(s) in several folds: {_some(several)}"
    for label in sorted({label for example in examples for label in example.labels}):
        groups = {example.group for example in examples if label in example.labels}
        if len(groups) == 1:
            yield f"label {label} comes from one source only, {groups.pop()}: it cannot be held out"


def twins(examples: Sequence[Example], seen: dict[Path, Seen]) -> Iterator[str]:
    """Lines: files of the same content under different names; worst where they count as two sources."""
    same: dict[str, dict[Path, str]] = defaultdict(dict)
    for example in examples:
        if example.path in seen:
            same[seen[example.path].sha256][example.path] = example.group
    for copies in same.values():
        if len(copies) > 1:
            what = (
                "the same content"
                if len(set(copies.values())) == 1
                else "the same content in several sources"
            )
            yield f"{what}: {_some([str(path) for path in copies])}"


def shared(examples: Sequence[Example], others: Sequence[Example]) -> list[str]:
    """Sources of another manifest that are sources here too."""
    return sorted({example.group for example in examples} & {example.group for example in others})


def _glance(example: Example) -> MediaInfo | None:
    try:
        request = DecodeRequest(Within((), At((0.0,)), example.stretch), GLANCE)
        return decode_file(example.path, request).info
    except NoVideo:
        if not len(read_sound(example.path, GLANCE_HZ)):
            raise
        return None


def _digest(example: Example) -> str:
    with example.path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _from(example: Example) -> str:
    return "" if example.stretch.whole else f" from {example.stretch.start_s:g} s"


def _sources(examples: Sequence[Example]) -> str:
    count = len({example.group for example in examples})
    return f"{count} source{'s' if count > 1 else ''}"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{', '.join(names[:SHOWN])}{more}"
