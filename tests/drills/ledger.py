"""What went in beside what came out: the account that every drill is judged by. Pure.

    lost           acknowledged to the publisher, and not on the topic
    missing        on the topic with a readable upload id, and without a verdict
    conflicting    several verdict ids for one upload, version, degradation and reason; or one id that says
                   different things
    unearned       `allow` for what was not looked at
    unlettered     on the topic without a readable upload id, and without a dead letter
    strangers      verdicts and dead letters for what was not published, or was readable

Each of these must be nothing. Counted beside them: raw repeats, uploads that have several ids because
they were judged in different ways, and `review` for uploads that somebody should have judged.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from worker.messages import Verdict
from worker.stream.types import Place

SHOWN = 5  # names in one line of faults


@dataclass(frozen=True, slots=True)
class Books:
    """What lies on the topics when a drill is over."""

    acknowledged: frozenset[str]  # uploads that the publisher was told are safe
    uploads: frozenset[str]  # on the topic, with a readable id
    unreadable: frozenset[Place]  # on the topic, without
    verdicts: tuple[Verdict, ...]  # repeats included; those of one upload in their order
    letters: tuple[Place | None, ...]  # the sources that dead letters name, repeats included
    hopeless: frozenset[str] = frozenset()  # uploads for which `review` is the right answer


@dataclass(frozen=True, slots=True)
class Ledger:
    uploads_in: int
    uploads_answered: int
    unreadable_in: int
    unreadable_lettered: int
    lost: tuple[str, ...]
    missing: tuple[str, ...]
    conflicting: tuple[str, ...]
    unearned: tuple[str, ...]
    unlettered: tuple[str, ...]
    strangers: tuple[str, ...]
    unneeded_reviews: Mapping[str, int]  # reason -> uploads whose live verdict says so without need
    judged_in_several_ways: int  # uploads
    repeats: int  # verdicts beyond the first of each id

    def faults(self) -> list[str]:
        """What must not be, in words; empty when the books balance."""
        kinds = ("lost", "missing", "conflicting", "unearned", "unlettered", "strangers")
        return [_line(kind, found) for kind in kinds if (found := getattr(self, kind))]

    def summary(self) -> dict[str, Any]:
        """For a file: names are counted."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            name: len(value) if isinstance(value, tuple) else dict(value) if name in _MAPS else value
            for name, value in values.items()
        }


_MAPS = frozenset({"unneeded_reviews"})


def balance(books: Books) -> Ledger:
    by_upload: dict[str, list[Verdict]] = defaultdict(list)
    for verdict in books.verdicts:
        by_upload[verdict.upload_id].append(verdict)
    letters = {letter for letter in books.letters if letter is not None}
    live = {upload: verdicts[-1] for upload, verdicts in by_upload.items()}
    return Ledger(
        uploads_in=len(books.uploads),
        uploads_answered=len(books.uploads & by_upload.keys()),
        unreadable_in=len(books.unreadable),
        unreadable_lettered=len(books.unreadable & letters),
        lost=_sorted(books.acknowledged - books.uploads),
        missing=_sorted(books.uploads - by_upload.keys()),
        conflicting=_sorted(upload for upload, verdicts in by_upload.items() if _conflict(verdicts)),
        unearned=_sorted({verdict.upload_id for verdict in books.verdicts if not _earned(verdict)}),
        unlettered=_sorted(map(str, books.unreadable - letters)),
        strangers=_sorted(by_upload.keys() - books.uploads)
        + _sorted(map(str, letters - books.unreadable))
        + ("a dead letter without a source",) * (None in books.letters),
        unneeded_reviews=_unneeded(live, books.hopeless),
        judged_in_several_ways=sum(len(_ids(verdicts)) > 1 for verdicts in by_upload.values()),
        repeats=len(books.verdicts) - sum(len(_ids(verdicts)) for verdicts in by_upload.values()),
    )


def _conflict(verdicts: Collection[Verdict]) -> bool:
    ways = {(v.versions.model_dump_json(), v.degraded, v.reason) for v in verdicts}
    said = {(v.verdict_id, v.decision) for v in verdicts}
    return not len(ways) == len(_ids(verdicts)) == len(said)


def _ids(verdicts: Iterable[Verdict]) -> set[Any]:
    return {verdict.verdict_id for verdict in verdicts}


def _earned(verdict: Verdict) -> bool:
    if verdict.decision != "allow":
        return True
    return verdict.decided_by != "error" and verdict.coverage is not None and verdict.coverage.clips > 0


def _unneeded(live: Mapping[str, Verdict], hopeless: Collection[str]) -> dict[str, int]:
    found: dict[str, int] = defaultdict(int)
    for upload, verdict in sorted(live.items()):
        if (verdict.decided_by == "error" or verdict.degraded) and upload not in hopeless:
            found[verdict.reason] += 1
    return dict(found)


def _sorted(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(names))


def _line(kind: str, names: tuple[str, ...]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{len(names)} {kind}: {', '.join(names[:SHOWN])}{more}"
