"""Uploads that kill the worker itself. They are begun, and nobody hears of them again.

An upload is counted before it is looked at, where the count outlives the process, and the count is
taken away when there is an answer. What was begun `worker.quarantine_after` times without an end is not
begun again: it gets `review`, `quarantined`.

A worker that dies leaves the uploads counted that were beside the guilty one. So uploads that were
begun before are tried one at a time: the guilty one dies alone, the others end and are forgotten. And
what an orderly stop or a rebalance takes out of a worker's hands is given back: nobody died of it.
"""

from __future__ import annotations

import hashlib
import math
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import structlog

from worker.cache import RedisCache
from worker.errors import DeadlineExceeded, Quarantined
from worker.stream.types import Place, TopicPartition

KEPT_S = 7 * 86_400  # longer than anybody leaves a dead worker alone

log = structlog.get_logger(__name__)


class Counts(Protocol):
    """Numbers by name that outlive the process. Thread-safe; a store that is away counts as 0."""

    def begin(self, name: str) -> int:
        """Returns the number; where it was 0, it is 1 from now on."""
        ...

    def add(self, name: str, number: int) -> None: ...

    def forget(self, name: str) -> None: ...


class Attempts:
    def __init__(self, counts: Counts, group_id: str, limit: int) -> None:
        self._counts = counts
        self._group_id = group_id
        self._limit = limit
        self._alone = threading.Lock()
        self._lock = threading.Lock()
        self._begun: set[Place] = set()  # counted by this worker, without an end so far
        self._waiting: set[Place] = set()  # for their turn, not counted yet

    @contextmanager
    def attempt(self, place: Place, wait_s: float = math.inf) -> Iterator[None]:
        """Around the work on the upload that was read at ``place``. An exception is no end.

        Raises Quarantined instead of beginning, or DeadlineExceeded if its turn does not come in ``wait_s``.
        """
        before = self._counts.begin(self._name(place))
        if before >= self._limit:
            raise Quarantined(
                f"begun {before} times and never ended: it may kill workers. Look at {place} before "
                "`sluice requeue`"
            )
        if before == 0:
            with self._counted(place):
                yield
            return
        log.warning("upload_was_begun_before", source=str(place), times=before)
        with self._turn(place, wait_s) as is_ours:
            if not is_ours:  # its answer will not be published, and its count is another worker's
                yield
                return
            self._counts.add(self._name(place), 1)
            with self._counted(place):
                yield

    def release(self, partitions: Iterable[TopicPartition]) -> None:
        """What was read from these is in others' hands now."""
        gone = frozenset(partitions)
        with self._lock:
            self._waiting -= {place for place in self._waiting if (place.topic, place.partition) in gone}
        self._give_back({place for place in self._begun_now() if (place.topic, place.partition) in gone})

    def close(self) -> None:
        """An orderly stop: what has no end yet will be begun by another worker."""
        self._give_back(self._begun_now())

    @contextmanager
    def _turn(self, place: Place, wait_s: float) -> Iterator[bool]:
        """Alone among those that were begun before. False: it was released while it waited."""
        with self._lock:
            self._waiting.add(place)
        has_turn = self._alone.acquire(timeout=min(wait_s, threading.TIMEOUT_MAX))
        with self._lock:
            is_ours = place in self._waiting
            self._waiting.discard(place)
        if not has_turn:
            raise DeadlineExceeded("the upload's deadline passed before its turn: others had been begun too")
        try:
            yield is_ours
        finally:
            self._alone.release()

    @contextmanager
    def _counted(self, place: Place) -> Iterator[None]:
        with self._lock:
            self._begun.add(place)
        try:
            yield
        except BaseException:
            self._take(place)
            raise
        if self._take(place):
            self._counts.forget(self._name(place))

    def _give_back(self, places: Iterable[Place]) -> None:
        for place in places:
            if self._take(place):
                self._counts.add(self._name(place), -1)

    def _begun_now(self) -> set[Place]:
        with self._lock:
            return set(self._begun)

    def _take(self, place: Place) -> bool:
        with self._lock:
            try:
                self._begun.remove(place)
            except KeyError:
                return False
            return True

    def _name(self, place: Place) -> str:
        return f"{self._group_id}/{place}"


BEGIN = """
local before = tonumber(redis.call('GET', KEYS[1]) or '0')
if before <= 0 then redis.call('SET', KEYS[1], 1, 'EX', ARGV[1]) end
return before
"""
ADD = """
if redis.call('INCRBY', KEYS[1], ARGV[1]) <= 0 then return redis.call('DEL', KEYS[1]) end
return redis.call('EXPIRE', KEYS[1], ARGV[2])
"""


class SharedCounts:
    """On the cache's server: whichever worker gets the upload next knows. Implements Counts."""

    def __init__(self, cache: RedisCache) -> None:
        self._cache = cache

    def begin(self, name: str) -> int:
        answer = self._cache.ask(lambda server: server.eval(BEGIN, 1, _key(name), str(KEPT_S)))
        return max(0, answer) if isinstance(answer, int) else 0

    def add(self, name: str, number: int) -> None:
        self._cache.ask(lambda server: server.eval(ADD, 1, _key(name), str(number), str(KEPT_S)))

    def forget(self, name: str) -> None:
        self._cache.ask(lambda server: server.delete(_key(name)))


class FileCounts:
    """Without a server: a file for each upload, whose length is the number. Implements Counts.

    A restarted worker knows; another one counts for itself. A disk that is full or away is told once.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._is_told = False
        folder.mkdir(parents=True, exist_ok=True)

    def begin(self, name: str) -> int:
        before = 0
        with self._tolerant():
            file = self._file(name)
            before = file.stat().st_size if file.exists() else 0
        if before == 0:
            self.add(name, 1)
        return before

    def add(self, name: str, number: int) -> None:
        with self._tolerant():
            with self._file(name).open("ab") as file:
                length = max(0, file.tell() + number)
                file.truncate(length)
            if length == 0:
                self.forget(name)

    def forget(self, name: str) -> None:
        with self._tolerant():
            self._file(name).unlink(missing_ok=True)

    @contextmanager
    def _tolerant(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if not self._is_told:
                self._is_told = True
                log.error("attempts_are_not_counted", error=str(error), remedy="put worker.state_dir right")

    def _file(self, name: str) -> Path:
        return self._folder / hashlib.sha256(name.encode()).hexdigest()


class NoCounts:
    """Nowhere to count: an upload that kills the worker will do so for ever. Implements Counts."""

    def begin(self, name: str) -> int:
        return 0

    def add(self, name: str, number: int) -> None: ...

    def forget(self, name: str) -> None: ...


def _key(name: str) -> str:
    return f"sluice:attempts:{{{name}}}"
