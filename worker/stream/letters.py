"""Reading the dead-letter topic back, and what it holds beside letters. Pure.

Kafka has no way to delete one record. So a letter is settled by a mark: a further record on the same
partition, without a value, whose header names the letter's offset and says what became of it. Marks lie
behind their letters, so nothing that is cut off at the front of a partition leaves an open letter open
without its mark, or the other way round.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from worker.stream.dead_letter import CONNECT, OMITTED, REASON, SHA256, SIZE
from worker.stream.types import Outgoing, Place, Record, Unreadable

SETTLES = "sluice.settles"  # a mark's header: the offset of the letter
SETTLED = "sluice.settled"  # and what became of it

Settlement = Literal["redriven", "dropped"]


@dataclass(frozen=True, slots=True)
class Letter:
    """What is known of a dead letter, without its value."""

    place: Place  # on the dead-letter topic
    written_at: datetime
    reason: str
    message: str
    source: Place | None  # None: not a letter that Sluice wrote
    omitted: str  # why the original does not stand in it; empty: it does
    sha256: str  # of the original's value, where that was omitted


@dataclass(frozen=True, slots=True)
class Letters:
    """What the dead-letter topic holds."""

    all: tuple[Letter, ...]
    settled: dict[Place, str]  # letter -> what became of it
    ends: dict[int, int]  # partition -> offset after the last record

    def is_open(self, letter: Letter) -> bool:
        return letter.place not in self.settled

    def finished_prefix(self) -> dict[int, int]:
        """Partition -> offset before which nothing is open any more."""
        prefix = dict(self.ends)
        for letter in self.all:
            if self.is_open(letter):
                at = letter.place.partition
                prefix[at] = min(prefix[at], letter.place.offset)
        return prefix


def read_letters(records: Iterable[Record | Unreadable]) -> Letters:
    letters: list[Letter] = []
    settled: dict[Place, str] = {}
    ends: dict[int, int] = {}
    for record in records:
        ends[record.partition] = record.offset + 1
        if isinstance(record, Unreadable):
            continue
        letter = read_letter(record)
        if letter.source is None and (mark := _marked(record)):
            settled[mark[0]] = mark[1]
        else:
            letters.append(letter)
    return Letters(tuple(letters), settled, ends)


def read_letter(record: Record) -> Letter:
    """Of two equal headers the later counts: those of the original, which may be forged, come first."""
    headers = {name: value.decode("utf-8", "replace") for name, value in record.headers}
    return Letter(
        place=record.place,
        written_at=datetime.fromtimestamp(record.timestamp_ms / 1000, UTC),
        reason=headers.get(REASON, ""),
        message=headers.get(CONNECT + "exception.message", ""),
        source=_source(headers),
        omitted=headers.get(OMITTED, "") if record.value is None else "",
        sha256=headers.get(SHA256, ""),
    )


def mark(letter: Letter, settlement: Settlement) -> Outgoing:
    """The record that settles ``letter``."""
    place = letter.place
    headers = ((SETTLES, str(place.offset).encode()), (SETTLED, settlement.encode()))
    return Outgoing(place.topic, f"{SETTLES}:{place}".encode(), None, headers, place.partition)


def original(written: Record, topic: str) -> Outgoing:
    """What the letter ``written`` is about, for ``topic``. Only where nothing was omitted."""
    added = {REASON, OMITTED, SIZE, SHA256}
    headers = tuple(
        (name, value) for name, value in written.headers if name not in added and not name.startswith(CONNECT)
    )
    return Outgoing(topic, written.key, written.value, headers)


def is_original(letter: Letter, record: Record) -> bool:
    """Whether ``record``, found at the letter's source, is still the one that the letter is about."""
    return not letter.sha256 or hashlib.sha256(record.value or b"").hexdigest() == letter.sha256


def _marked(record: Record) -> tuple[Place, str] | None:
    headers = dict(record.headers)
    offset = headers.get(SETTLES, b"")
    if record.value is not None or not offset.isdigit():
        return None
    place = Place(record.topic, record.partition, int(offset))
    return place, headers.get(SETTLED, b"").decode("utf-8", "replace")


def _source(headers: dict[str, str]) -> Place | None:
    topic, partition, offset = (headers.get(CONNECT + name, "") for name in ("topic", "partition", "offset"))
    if not (topic and partition.isdigit() and offset.isdigit()):
        return None
    return Place(topic, int(partition), int(offset))
