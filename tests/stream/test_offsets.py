"""OffsetTracker: only a contiguous finished prefix may be committed."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from worker.stream.offsets import OffsetTracker, Ticket
from worker.stream.types import TopicPartition

P0 = TopicPartition("uploads", 0)
P1 = TopicPartition("uploads", 1)


def tracked(tracker: OffsetTracker, *offsets: int, at: TopicPartition = P0) -> list[Ticket]:
    tickets = [tracker.track(at, offset) for offset in offsets]
    assert all(tickets)
    return [ticket for ticket in tickets if ticket is not None]


@pytest.mark.parametrize(
    ("read", "finished", "committable"),
    [
        ([0, 1, 2], [], None),
        ([0, 1, 2], [0], 1),
        ([0, 1, 2], [1, 2], None),
        ([0, 1, 2], [2, 0], 1),
        ([0, 1, 2], [2, 1, 0], 3),
        ([7, 8, 9], [7, 9], 8),
        ([3, 5, 9], [3, 5], 6),  # offsets may have gaps: compaction, transaction markers
        ([3, 5, 9], [9, 5, 3], 10),
    ],
)
def test_the_finished_prefix(read: list[int], finished: list[int], committable: int | None) -> None:
    tracker = OffsetTracker()
    tracker.assign([P0])
    tickets = {ticket.offset: ticket for ticket in tracked(tracker, *read)}
    for offset in finished:
        assert tracker.done(tickets[offset])
    assert tracker.committable() == ({} if committable is None else {P0: committable})


def test_partitions_do_not_wait_for_each_other() -> None:
    tracker = OffsetTracker()
    tracker.assign([P0, P1])
    tracked(tracker, 0)
    (other,) = tracked(tracker, 5, at=P1)
    tracker.done(other)
    assert tracker.committable() == {P1: 6}


def test_what_is_committed_is_not_offered_again() -> None:
    tracker = OffsetTracker()
    tracker.assign([P0])
    first, second = tracked(tracker, 0, 1)
    tracker.done(first)
    tracker.committed({P0: 1})
    assert tracker.committable() == {}
    tracker.done(second)
    assert tracker.committable() == {P0: 2}


def test_a_record_of_a_partition_that_is_not_ours_gets_no_ticket() -> None:
    assert OffsetTracker().track(P0, 0) is None


def test_revoking_hands_over_what_is_finished_and_forgets_the_rest() -> None:
    tracker = OffsetTracker()
    tracker.assign([P0, P1])
    finished, unfinished = tracked(tracker, 0, 1)
    (kept,) = tracked(tracker, 0, at=P1)
    tracker.done(finished)
    tracker.done(kept)
    assert tracker.revoke([P0]) == {P0: 1}
    assert not tracker.owns(unfinished)
    assert not tracker.done(unfinished)
    assert tracker.committable() == {P1: 1}


def test_work_of_a_partition_that_was_lost_and_gained_again_counts_for_nothing() -> None:
    tracker = OffsetTracker()
    tracker.assign([P0])
    (before,) = tracked(tracker, 0)
    tracker.revoke([P0])
    tracker.assign([P0])
    (after,) = tracked(tracker, 0)
    assert not tracker.done(before)
    assert tracker.committable() == {}
    assert tracker.done(after)
    assert tracker.committable() == {P0: 1}


def test_a_position_that_was_set_back_starts_a_new_line() -> None:
    tracker = OffsetTracker()
    tracker.assign([P0])
    high, _ = tracked(tracker, 8, 9)
    (low,) = tracked(tracker, 3)
    assert not tracker.owns(high)
    tracker.done(low)
    assert tracker.committable() == {P0: 4}


def test_done_twice_counts_once() -> None:
    tracker = OffsetTracker()
    tracker.assign([P0])
    (ticket,) = tracked(tracker, 0)
    assert tracker.done(ticket)
    assert not tracker.done(ticket)
    assert tracker.committable() == {P0: 1}


class Model(RuleBasedStateMachine):
    """Arbitrary reads, completions, commits and rebalances against the plain statement of the rule:
    an offset may be committed when everything read before it, since we own the partition, is done."""

    def __init__(self) -> None:
        super().__init__()
        self.tracker = OffsetTracker()
        self.log_end = {P0: 0, P1: 0}
        self.lines: dict[TopicPartition, list[tuple[Ticket, bool]]] = {}
        self.stale: list[Ticket] = []

    @rule(at=st.sampled_from([P0, P1]))
    def assign(self, at: TopicPartition) -> None:
        self.stale += [ticket for ticket, _ in self.lines.get(at, [])]
        self.tracker.assign([at])
        self.lines[at] = []

    @rule(at=st.sampled_from([P0, P1]))
    def revoke(self, at: TopicPartition) -> None:
        self.tracker.revoke([at])
        self.stale += [ticket for ticket, _ in self.lines.pop(at, [])]

    @rule(at=st.sampled_from([P0, P1]), gap=st.integers(0, 3))
    def read(self, at: TopicPartition, gap: int) -> None:
        offset = self.log_end[at] + gap
        ticket = self.tracker.track(at, offset)
        assert (ticket is not None) == (at in self.lines)
        if ticket is not None:
            self.log_end[at] = offset + 1
            self.lines[at].append((ticket, False))

    @precondition(lambda self: any(self.lines.values()))
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        at = data.draw(st.sampled_from([at for at, line in self.lines.items() if line]))
        index = data.draw(st.integers(0, len(self.lines[at]) - 1))
        ticket, done = self.lines[at][index]
        assert self.tracker.done(ticket) or done
        self.lines[at][index] = (ticket, True)

    @precondition(lambda self: self.stale)
    @rule(data=st.data())
    def finish_too_late(self, data: st.DataObject) -> None:
        ticket = data.draw(st.sampled_from(self.stale))
        assert not self.tracker.owns(ticket)
        assert not self.tracker.done(ticket)

    @rule()
    def commit(self) -> None:
        self.tracker.committed(self.tracker.committable())
        assert self.tracker.committable() == {}

    @invariant()
    def never_past_something_unfinished(self) -> None:
        for at, offset in self.tracker.committable().items():
            assert all(done for ticket, done in self.lines[at] if ticket.offset < offset)
            assert any(ticket.offset == offset - 1 for ticket, _ in self.lines[at])


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
