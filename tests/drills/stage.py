"""What a drill plays on: a broker, a cache, videos; and for each drill a group of workers and its traffic."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TypeVar

from tests.brokers import wait_for
from tests.drills.books import read_books, wait_until_committed
from tests.drills.brokers import DrillBroker
from tests.drills.ledger import Ledger, balance
from tests.drills.media import Media
from tests.drills.network import Network
from tests.drills.probes import partitions
from tests.drills.traffic import Traffic
from tests.drills.workers import Workers
from worker.settings import KafkaSettings
from worker.standalone import EmbeddedCache

PARTITIONS = 4
MAX_PENDING = 16
BALANCED_WITHIN_S = 90.0
T = TypeVar("T")
SMALL_WORKER: Mapping[str, str] = {
    # What a drill needs of a worker is that it begins, works and ends: one clip of each video, no escalation.
    "SLUICE_INFERENCE__ESCALATION": "",
    "SLUICE_INFERENCE__THREADS": "1",
    "SLUICE_INFERENCE__MAX_BATCH_CLIPS": "1",
    "SLUICE_SAMPLING__UNIFORM_CLIPS": "1",
    "SLUICE_DECODE__PROCESSES": "2",
    "SLUICE_WORKER__CONCURRENCY": "4",
    "SLUICE_WORKER__MAX_PENDING": f"{MAX_PENDING}",
    "OMP_NUM_THREADS": "1",
}


class Size(Enum):
    SHORT = "short"  # seconds, for the test-suite
    NORMAL = "normal"
    LONG = "long"


@dataclass(frozen=True, slots=True)
class Target:
    """A figure to reach."""

    name: str
    value: float
    at_most: float

    @property
    def is_met(self) -> bool:
        return self.value <= self.at_most


@dataclass(frozen=True)
class Findings:
    injected: str  # what was done, with numbers
    count: int  # faults injected
    ledger: Ledger
    longest_gap_s: float  # between two verdicts
    recovered_s: tuple[float, ...] = ()  # after each fault, until every partition was answered again
    restarts: int = 0  # of workers that ended by themselves
    figures: Mapping[str, float] = field(default_factory=dict)
    targets: tuple[Target, ...] = ()
    problems: tuple[str, ...] = ()  # what went wrong beside the ledger

    def failures(self) -> list[str]:
        """What must not be. A target that was missed is none: on a busy machine it says little."""
        return [*self.ledger.faults(), *self.problems]


@dataclass
class Stage:
    broker: DrillBroker
    folder: Path
    media: Media
    size: Size
    random: random.Random
    network: Network | None  # None: it cannot be made here
    tell: Callable[[str], object]
    per_s: float = 10.0  # uploads offered where a drill says nothing else

    def pick(self, short: T, normal: T, long: T | None = None) -> T:
        """What goes with the size; ``long`` None: as ``normal``."""
        if self.size is Size.SHORT:
            return short
        return normal if self.size is Size.NORMAL or long is None else long

    @contextmanager
    def group(
        self,
        workers: int = 2,
        *,
        environment: Mapping[str, str] | None = None,
        shared_cache: bool = True,
        **kafka: object,
    ) -> Iterator[Group]:
        """Ready workers on topics of their own. ``kafka``: settings that differ from the broker's."""
        settings = self.broker.settings().model_copy(update=kafka)
        self.broker.create_topics(settings, PARTITIONS)
        with ExitStack() as stack:
            cache = EmbeddedCache()
            given = dict(SMALL_WORKER) | {"SLUICE_FETCH__FILE_ROOTS": f"{self.media.folder}"}
            if shared_cache:
                given["SLUICE_CACHE__URL"] = stack.enter_context(cache)
            else:
                given["SLUICE_WORKER__STATE_DIR"] = f"{self.folder / settings.group_id}"
            running = stack.enter_context(Workers(settings, self.folder, given | dict(environment or {})))
            for _ in range(workers):
                running.start()
            running.wait_until_ready()
            traffic = stack.enter_context(Traffic(settings, PARTITIONS, self.media))
            stack.callback(self.media.clear)
            group = Group(settings, running, traffic, cache)
            group.wait_until_balanced()
            yield group


@dataclass
class Group:
    kafka: KafkaSettings
    workers: Workers
    traffic: Traffic
    cache: EmbeddedCache
    problems: list[str] = field(default_factory=list)

    @contextmanager
    def load(self, per_s: float, after_s: float = 2.0) -> Iterator[None]:
        """Uploads at an even pace, from before the block, which begins when every partition is answered,
        until a moment after it."""
        with self.traffic.steady(per_s):
            self.traffic.wait_until_all_answered()
            yield
            time.sleep(after_s)

    def wait_until_balanced(self) -> None:
        """Until all partitions are read, and every worker reads some. Raises AssertionError."""

        def is_balanced() -> bool:
            shares = [partitions(worker) for worker in self.workers.running]
            return all(shares) and sum(shares) == PARTITIONS

        wait_for(is_balanced, BALANCED_WITHIN_S, "the group is balanced")

    def close(self) -> Ledger:
        """Wait until everything is answered and committed, stop the workers, and balance the books."""
        self.traffic.settle()
        wait_until_committed(self.kafka)
        self.problems += self.workers.stop_all()
        return balance(read_books(self.kafka, self.traffic.acknowledged(), frozenset(self.traffic.hopeless)))

    def findings(
        self,
        injected: str,
        count: int,
        recovered_s: tuple[float, ...] = (),
        *,
        figures: Mapping[str, float] | None = None,
        targets: tuple[Target, ...] = (),
    ) -> Findings:
        """Closes the group."""
        ledger = self.close()
        return Findings(
            injected=injected,
            count=count,
            ledger=ledger,
            longest_gap_s=self.traffic.longest_gap_s(),
            recovered_s=recovered_s,
            restarts=len(self.workers.restarts),
            figures=figures or {},
            targets=targets,
            problems=tuple(self.problems),
        )
