"""Which offsets may be committed while work finishes out of order. Pure.

A partition is a line of records in the order in which they were read. Only the finished prefix of
that line may be committed. Records carry a ticket, and a ticket a generation: what was lost in a
rebalance and gained again starts a new line, and answers to the old one count for nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from worker.stream.types import TopicPartition


@dataclass(frozen=True, slots=True)
class Ticket:
    """The place of one record in the line of its partition."""

    topic_partition: TopicPartition
    offset: int
    generation: int


@dataclass(slots=True)
class _Line:
    generation: int
    unfinished: deque[int] = field(default_factory=deque)  # offsets, in the order in which they were read
    finished: set[int] = field(default_factory=set)  # those of `unfinished` that wait for an earlier one
    last_read: int = -1
    next_offset: int | None = None  # to be committed; None: nothing finished yet
    committed: int | None = None


class OffsetTracker:
    def __init__(self) -> None:
        self._lines: dict[TopicPartition, _Line] = {}
        self._generation = 0

    def assign(self, partitions: Iterable[TopicPartition]) -> None:
        """These are ours from now on. One that already was starts anew."""
        for partition in partitions:
            self._lines[partition] = self._new_line()

    def revoke(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """These are no longer ours. Returns what is finished and not committed, for a last commit."""
        owed = self.committable()
        gone = set(partitions)
        for partition in gone:
            self._lines.pop(partition, None)
        return {partition: offset for partition, offset in owed.items() if partition in gone}

    def track(self, partition: TopicPartition, offset: int) -> Ticket | None:
        """Note a record that was read. None: its partition is not ours any more."""
        line = self._lines.get(partition)
        if line is None:
            return None
        if offset <= line.last_read:  # the position was set back: read again from there
            line = self._lines[partition] = self._new_line()
        line.unfinished.append(offset)
        line.last_read = offset
        return Ticket(partition, offset, line.generation)

    def owns(self, ticket: Ticket) -> bool:
        """Whether an answer to this record is still ours to give."""
        line = self._lines.get(ticket.topic_partition)
        return line is not None and line.generation == ticket.generation

    def done(self, ticket: Ticket) -> bool:
        """The answer to this record is acknowledged. False: too late or twice, it counts for nothing."""
        line = self._lines.get(ticket.topic_partition)
        if line is None or line.generation != ticket.generation:
            return False
        if line.next_offset is not None and ticket.offset < line.next_offset:
            return False
        line.finished.add(ticket.offset)
        while line.unfinished and line.unfinished[0] in line.finished:
            offset = line.unfinished.popleft()
            line.finished.remove(offset)
            line.next_offset = offset + 1
        return True

    def committable(self) -> dict[TopicPartition, int]:
        """The next offset to read, of each partition where it has moved since the last commit."""
        return {
            partition: line.next_offset
            for partition, line in self._lines.items()
            if line.next_offset is not None and line.next_offset != line.committed
        }

    def committed(self, offsets: Mapping[TopicPartition, int]) -> None:
        """The broker has these."""
        for partition, offset in offsets.items():
            line = self._lines.get(partition)
            if line is not None:
                line.committed = offset

    def _new_line(self) -> _Line:
        self._generation += 1
        return _Line(self._generation)
