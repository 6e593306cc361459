"""The two deliveries, step by step, on a clock that stands still."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future

import pytest

from tests.fakes.clock import ManualClock
from worker.errors import BrokerUnavailable, PublishFailed
from worker.stream import delivery as delivery_module
from worker.stream.delivery import COMMIT_RETRY_S, AtLeastOnce, ExactlyOnce, Kept
from worker.stream.offsets import Ticket
from worker.stream.types import Outgoing, TopicPartition

P0, P1 = TopicPartition("uploads", 0), TopicPartition("uploads", 1)
TIMEOUT_S = 10.0


class Broker:
    """Consumer, producer and transactions as far as a delivery needs them; keeps what it is told."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes | None, Future[None]]] = []
        self.commits: list[Mapping[TopicPartition, int]] = []
        self.written: list[tuple[list[bytes | None], Mapping[TopicPartition, int]]] = []
        self.errors: list[Exception] = []

    def send(self, record: Outgoing) -> Future[None]:
        self.sent.append((record.key, Future()))
        return self.sent[-1][1]

    def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        if self.errors:
            raise self.errors.pop(0)
        self.commits.append(offsets)

    def membership(self) -> object:
        return "member 1"

    def write(
        self, records: Sequence[Outgoing], offsets: Mapping[TopicPartition, int], membership: object
    ) -> None:
        if self.errors:
            raise self.errors.pop(0)
        self.written.append(([record.key for record in records], offsets))


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture
def exactly_once(broker: Broker, clock: ManualClock) -> ExactlyOnce:
    delivery = ExactlyOnce(
        broker,  # type: ignore[arg-type]
        broker,  # type: ignore[arg-type]
        clock,
        interval_s=1.0,
        timeout_s=TIMEOUT_S,
        max_kept_bytes=10_000,
    )
    delivery.ownership.assigned(frozenset({P0, P1}))
    return delivery


def read(delivery: AtLeastOnce | ExactlyOnce, *offsets: int, at: TopicPartition = P0) -> list[Ticket]:
    tickets = [delivery.ownership.track(at, offset) for offset in offsets]
    return [ticket for ticket in tickets if ticket is not None]


def answer(delivery: AtLeastOnce | ExactlyOnce, ticket: Ticket, value: bytes = b"") -> None:
    key = f"{ticket.topic_partition.partition}/{ticket.offset}".encode()
    done: list[BaseException | None] = []
    delivery.publish(ticket, Outgoing("verdicts", key, value), done.append)
    for error in done:
        assert error is None
        delivery.ownership.done(ticket)


def committed(delivery: ExactlyOnce) -> Mapping[TopicPartition, int]:
    """Begins a transaction where one is due, and waits for it."""
    delivery.commit()
    if delivery._current is not None:
        delivery._current.written.exception(5)
    return delivery.commit()


def test_at_least_once_is_done_when_it_is_acknowledged(broker: Broker, clock: ManualClock) -> None:
    delivery = AtLeastOnce(broker, broker, clock)  # type: ignore[arg-type]
    delivery.ownership.assigned(frozenset({P0}))
    (ticket,) = read(delivery, 0)
    done: list[BaseException | None] = []
    delivery.publish(ticket, Outgoing("verdicts", b"k", b"v"), done.append)
    clock.advance(3.0)
    assert (done, delivery.unacknowledged_s()) == ([], 3.0)
    broker.sent[0][1].set_result(None)
    assert (done, delivery.unacknowledged_s()) == ([None], 0.0)


def test_at_least_once_tries_a_refused_commit_again_after_a_while(broker: Broker, clock: ManualClock) -> None:
    delivery = AtLeastOnce(broker, broker, clock)  # type: ignore[arg-type]
    delivery.ownership.assigned(frozenset({P0}))
    (ticket,) = read(delivery, 0)
    delivery.ownership.done(ticket)
    broker.errors.append(BrokerUnavailable("away"))
    with pytest.raises(BrokerUnavailable):
        delivery.commit()
    assert (delivery.commit(), delivery.is_idle()) == ({}, False)
    clock.advance(COMMIT_RETRY_S)
    assert (delivery.commit(), delivery.is_idle()) == ({P0: 1}, True)


def test_a_transaction_holds_the_finished_prefix_of_each_partition(
    exactly_once: ExactlyOnce, broker: Broker
) -> None:
    first, _, last = read(exactly_once, 0, 1, 2)
    (other,) = read(exactly_once, 7, at=P1)
    for ticket in (last, other, first):
        answer(exactly_once, ticket)
    assert committed(exactly_once) == {P0: 1, P1: 8}
    assert broker.written == [([b"0/0", b"1/7"], {P0: 1, P1: 8})]
    assert exactly_once.kept() == Kept(1, 0.0)
    assert exactly_once.is_idle()  # what is kept waits for the slow one, not for a commit


def test_transactions_keep_their_distance(
    exactly_once: ExactlyOnce, broker: Broker, clock: ManualClock
) -> None:
    for ticket in read(exactly_once, 0, 1):
        answer(exactly_once, ticket)
        committed(exactly_once)
    assert len(broker.written) == 1
    clock.advance(1.0)
    assert committed(exactly_once) == {P0: 2}


def test_an_aborted_transaction_comes_again(
    exactly_once: ExactlyOnce, broker: Broker, clock: ManualClock
) -> None:
    (ticket,) = read(exactly_once, 0)
    answer(exactly_once, ticket)
    broker.errors.append(BrokerUnavailable("the group has moved on"))
    with pytest.raises(BrokerUnavailable):
        committed(exactly_once)
    assert committed(exactly_once) == {}
    clock.advance(COMMIT_RETRY_S)
    assert committed(exactly_once) == {P0: 1}
    assert broker.written == [([b"0/0"], {P0: 1})]


def test_what_was_kept_of_a_partition_that_went_and_came_is_forgotten(
    exactly_once: ExactlyOnce, broker: Broker
) -> None:
    _, kept = read(exactly_once, 0, 1)
    answer(exactly_once, kept)
    assert exactly_once.ownership.revoked(frozenset({P0})) == {}
    exactly_once.ownership.assigned(frozenset({P0}))
    for ticket in read(exactly_once, 0, 1):
        answer(exactly_once, ticket)
    assert committed(exactly_once) == {P0: 2}
    assert broker.written == [([b"0/0", b"0/1"], {P0: 2})]  # each once


def test_a_partition_that_goes_takes_nothing_along_that_is_not_written(exactly_once: ExactlyOnce) -> None:
    (ticket,) = read(exactly_once, 0)
    answer(exactly_once, ticket)
    assert exactly_once.ownership.revoked(frozenset({P0})) == {}


def test_a_large_prefix_goes_out_in_several_transactions(
    exactly_once: ExactlyOnce, broker: Broker, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery_module, "MAX_TRANSACTION_BYTES", 2_500)
    for ticket in read(exactly_once, 0, 1, 2):
        answer(exactly_once, ticket, b"x" * 1_000)
    assert committed(exactly_once) == {P0: 2}
    clock.advance(1.0)
    assert committed(exactly_once) == {P0: 3}
    assert [keys for keys, _ in broker.written] == [[b"0/0", b"0/1"], [b"0/2"]]


def test_too_much_behind_a_slow_upload_makes_it_full(exactly_once: ExactlyOnce) -> None:
    _, *others = read(exactly_once, *range(12))
    for ticket in others:
        assert not exactly_once.is_full()
        answer(exactly_once, ticket, b"x" * 850)
    assert exactly_once.is_full()


def test_a_transaction_that_does_not_end_stops_the_worker(
    exactly_once: ExactlyOnce, broker: Broker, clock: ManualClock
) -> None:
    exactly_once._thread.submit = lambda *work: Future()  # type: ignore[method-assign, assignment]
    (ticket,) = read(exactly_once, 0)
    answer(exactly_once, ticket)
    exactly_once.commit()
    clock.advance(TIMEOUT_S)
    assert exactly_once.commit() == {}
    assert exactly_once.unacknowledged_s() == TIMEOUT_S
    clock.advance(0.1)
    with pytest.raises(PublishFailed, match="did not end within 10 s"):
        exactly_once.commit()


def test_the_last_commit_waits_for_what_is_on_its_way_and_writes_the_rest(
    exactly_once: ExactlyOnce, broker: Broker
) -> None:
    first, second = read(exactly_once, 0, 1)
    answer(exactly_once, first)
    exactly_once.commit()
    answer(exactly_once, second)
    assert exactly_once.finish(5.0) == {P0: 2}
    assert [keys for keys, _ in broker.written] == [[b"0/0"], [b"0/1"]]
