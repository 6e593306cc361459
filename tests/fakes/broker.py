"""A broker in memory that behaves like Kafka towards types.Consumer and types.Producer.

Groups rebalance cooperatively: a member lets go at its own next poll, and only then another gets the
partition. A member that vanishes is missed after the session time-out. What a real broker does only
when it is ill can be asked for: held acknowledgements, refused records, failing commits, poison.
"""

from __future__ import annotations

import math
import threading
import zlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from worker.clock import Clock, SystemClock
from worker.errors import BrokerUnavailable, PublishFailed
from worker.settings import KafkaSettings
from worker.stream.types import Outgoing, RebalanceListener, Record, TopicPartition, Unreadable


@dataclass
class Group:
    members: list[FakeConsumer] = field(default_factory=list)
    committed: dict[TopicPartition, int] = field(default_factory=dict)
    target: dict[TopicPartition, FakeConsumer] = field(default_factory=dict)
    generation: int = 0


class FakeBroker:
    def __init__(self, clock: Clock | None = None) -> None:
        self.clock = clock or SystemClock()
        self.changed = threading.Condition(threading.RLock())
        self.logs: dict[TopicPartition, list[Record]] = {}
        self.groups: dict[str, Group] = {}
        self.poison: set[tuple[TopicPartition, int]] = set()
        self.refuse: Callable[[Outgoing], bool] = lambda record: False
        self.down = False  # polls and commits fail
        self._held: list[Future[None]] | None = None

    def create_topic(self, topic: str, partitions: int) -> None:
        with self.changed:
            for number in range(partitions):
                self.logs.setdefault(TopicPartition(topic, number), [])

    def records(self, topic: str) -> list[Record]:
        with self.changed:
            return [record for at, log in sorted(self.logs.items()) if at.topic == topic for record in log]

    def hold_acknowledgements(self) -> None:
        with self.changed:
            self._held = []

    def release_acknowledgements(self) -> None:
        with self.changed:
            held, self._held = self._held or [], None
        for future in held:
            future.set_result(None)

    def append(self, outgoing: Outgoing, partition: int | None = None) -> Future[None]:
        answer: Future[None] = Future()
        with self.changed:
            if self.refuse(outgoing) or (outgoing.key is None and outgoing.value is None):
                answer.set_exception(PublishFailed(f"refused by {outgoing.topic}"))
                return answer
            self._store(outgoing, partition)
            self.changed.notify_all()
            if self._held is not None:
                self._held.append(answer)
                return answer
        answer.set_result(None)
        return answer

    def group(self, name: str) -> Group:
        return self.groups.setdefault(name, Group())

    def rebalance(self, group: Group, topic: str) -> None:
        """Give each partition to a member, moving as few as possible."""
        group.generation += 1
        partitions = sorted(at for at in self.logs if at.topic == topic)
        quota = math.ceil(len(partitions) / max(1, len(group.members)))
        count = {id(member): 0 for member in group.members}
        target: dict[TopicPartition, FakeConsumer] = {}
        for at in partitions:
            owner = group.target.get(at)
            if owner is not None and count.get(id(owner), quota) < quota:
                target[at] = owner
                count[id(owner)] += 1
        for at in partitions:
            if at not in target and group.members:
                member = min(group.members, key=lambda m: count[id(m)])
                target[at] = member
                count[id(member)] += 1
        group.target = target

    def expel(self, group: Group, topic: str) -> None:
        """Drop the members that have been silent for their session time-out."""
        now_s = self.clock.monotonic_s()
        silent = [
            m
            for m in group.members
            if m.vanished_s is not None and now_s - m.vanished_s > m.session_timeout_s
        ]
        for member in silent:
            group.members.remove(member)
        if silent:
            self.rebalance(group, topic)

    def _store(self, outgoing: Outgoing, partition: int | None) -> None:
        partitions = sorted(at for at in self.logs if at.topic == outgoing.topic)
        if not partitions:
            self.create_topic(outgoing.topic, 1)
            partitions = [TopicPartition(outgoing.topic, 0)]
        number = outgoing.partition if partition is None else partition
        if number is None:
            number = zlib.crc32(outgoing.key or b"") % len(partitions)
        log = self.logs[partitions[number]]
        timestamp_ms = int(self.clock.now().timestamp() * 1000)
        log.append(
            Record(
                topic=outgoing.topic,
                partition=number,
                offset=len(log),
                key=outgoing.key,
                value=outgoing.value,
                headers=outgoing.headers,
                timestamp_ms=timestamp_ms,
            )
        )


class FakeConsumer:
    """Implements types.Consumer."""

    def __init__(self, broker: FakeBroker, settings: KafkaSettings) -> None:
        self.session_timeout_s = settings.session_timeout_s
        self.vanished_s: float | None = None
        self.polls = 0
        self._turn = 0
        self.commits: list[dict[TopicPartition, int]] = []
        self._broker = broker
        self._group = broker.group(settings.group_id)
        self._topic = ""
        self._listener: RebalanceListener | None = None
        self._positions: dict[TopicPartition, int] = {}
        self._paused: set[TopicPartition] = set()
        self._generation = 0
        self._heard_s = broker.clock.monotonic_s()

    def subscribe(self, topics: Sequence[str], listener: RebalanceListener) -> None:
        (self._topic,) = topics
        self._listener = listener

    def poll(self, timeout_s: float, max_records: int) -> Sequence[Record | Unreadable]:
        with self._broker.changed:
            self.polls += 1
            if self._broker.down:
                raise BrokerUnavailable("the fake broker is down")
            self._heard_s = self._broker.clock.monotonic_s()
            self._join()
            self._follow_the_target()
            found = self._take(max_records)
            if not found and timeout_s > 0:
                self._broker.changed.wait(min(timeout_s, 0.05))
                self._follow_the_target()
                found = self._take(max_records)
            return found

    def assignment(self) -> frozenset[TopicPartition]:
        return frozenset(self._positions)

    def lag(self) -> dict[TopicPartition, int]:
        return {at: len(self._broker.logs[at]) - position for at, position in self._positions.items()}

    def joined(self) -> bool:
        return self in self._group.members

    def silence_s(self) -> float:
        return self._broker.clock.monotonic_s() - self._heard_s

    def pause(self) -> None:
        self._paused = set(self._positions)

    def resume(self) -> None:
        self._paused.clear()

    def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        with self._broker.changed:
            if self._broker.down or self not in self._group.members:
                raise BrokerUnavailable("the fake broker takes no commit")
            self._group.committed.update(offsets)
            self.commits.append(dict(offsets))

    def membership(self) -> object:
        return (self, self._generation)

    def close(self) -> None:
        with self._broker.changed:
            if self not in self._group.members:
                return
            self._let_go(frozenset(self._positions))
            self._group.members.remove(self)
            self._broker.rebalance(self._group, self._topic)
            self._broker.changed.notify_all()

    def vanish(self) -> None:
        """As after SIGKILL: no word to the broker."""
        self.vanished_s = self._broker.clock.monotonic_s()

    def _join(self) -> None:
        if self not in self._group.members and self.vanished_s is None:
            if self._positions and self._listener:
                self._listener.lost(frozenset(self._positions))
                self._positions.clear()
            self._group.members.append(self)
            self._broker.rebalance(self._group, self._topic)
        self._broker.expel(self._group, self._topic)

    def _follow_the_target(self) -> None:
        self._generation = self._group.generation
        mine = {at for at, member in self._group.target.items() if member is self}
        self._let_go(frozenset(self._positions) - mine)
        others = {at for m in self._group.members if m is not self for at in m._positions}
        added = frozenset(mine - set(self._positions) - others)
        if added and self._listener:
            self._listener.assigned(added)
            self._positions |= {at: self._group.committed.get(at, 0) for at in added}

    def _let_go(self, partitions: frozenset[TopicPartition]) -> None:
        if not partitions or self._listener is None:
            return
        self._group.committed.update(self._listener.revoked(partitions))
        for at in partitions:
            del self._positions[at]
        self._paused -= partitions
        self._broker.changed.notify_all()

    def _take(self, max_records: int) -> list[Record | Unreadable]:
        found: list[Record | Unreadable] = []
        ours = sorted(set(self._positions) - self._paused)
        turn = self._turn % max(1, len(ours))
        for at in ours[turn:] + ours[:turn]:
            for record in self._broker.logs[at][self._positions[at] :][: max_records - len(found)]:
                bad = (at, record.offset) in self._broker.poison
                found.append(Unreadable(*at, record.offset, "CorruptRecordError: fake") if bad else record)
                self._positions[at] = record.offset + 1
        self._turn += bool(found)
        return found


class FakeProducer:
    """Implements types.Producer."""

    def __init__(self, broker: FakeBroker) -> None:
        self._broker = broker

    def send(self, record: Outgoing) -> Future[None]:
        return self._broker.append(record)

    def close(self, timeout_s: float) -> None: ...


class FakeTransactions:
    """Implements types.Transactions."""

    def __init__(self, broker: FakeBroker, settings: KafkaSettings) -> None:
        self._broker = broker
        self._group = broker.group(settings.group_id)

    def write(
        self, records: Sequence[Outgoing], offsets: Mapping[TopicPartition, int], membership: object
    ) -> None:
        with self._broker.changed:
            members = [(member, self._group.generation) for member in self._group.members]
            if self._broker.down or membership not in members:
                raise BrokerUnavailable("the group has moved on")
            if any(self._broker.refuse(record) for record in records):
                raise PublishFailed("refused")
            for record in records:
                self._broker.append(record)
            self._group.committed.update(offsets)

    def close(self, timeout_s: float) -> None: ...
