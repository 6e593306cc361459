"""Attempts: what is begun and never ends is begun no more; the innocent beside it go free."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
import structlog

from tests.brokers import wait_for
from tests.contracts.cache_examples import redis_cache
from worker.attempts import Attempts, Counts, FileCounts, NoCounts, SharedCounts
from worker.cache import RedisCache
from worker.errors import DeadlineExceeded, Quarantined
from worker.stream.types import Place, TopicPartition

PLACE, OTHER = Place("uploads", 3, 17), Place("uploads", 3, 18)

NEVER_LEFT: list[ExitStack] = []  # a context manager that is collected would be left

Restart = Callable[[], Attempts]
"""A worker as after a kill -9: of the one before, only what it wrote is left."""


@pytest.fixture
def cache(embedded_cache: str) -> Iterator[RedisCache]:
    cache = redis_cache(embedded_cache, Counter(), timeout_s=2.0)
    yield cache
    cache.close()


@pytest.fixture(params=["shared", "file"])
def counts(request: pytest.FixtureRequest, tmp_path: Path) -> Counts:
    if request.param == "file":
        return FileCounts(tmp_path / "made" / "when needed")
    return SharedCounts(request.getfixturevalue("cache"))


@pytest.fixture
def restart(counts: Counts, request: pytest.FixtureRequest) -> Restart:
    group = request.node.name  # the server is shared
    return lambda: Attempts(counts, group, limit=3)


def killed_at(worker: Attempts, *places: Place) -> None:
    with ExitStack() as stack:
        for place in places:
            stack.enter_context(worker.attempt(place))
        NEVER_LEFT.append(stack.pop_all())


def test_what_never_ends_is_begun_three_times(restart: Restart) -> None:
    for _ in range(3):
        killed_at(restart(), PLACE)
    for _ in range(2):  # also when the worker dies before the verdict is out
        with pytest.raises(Quarantined, match=r"begun 3 times .* uploads/3/17"), restart().attempt(PLACE):
            raise AssertionError("was begun")
    with restart().attempt(OTHER):
        pass


def test_what_ends_is_forgotten(restart: Restart) -> None:
    for _ in range(5):
        with restart().attempt(PLACE):
            pass
    killed_at(restart(), PLACE)
    killed_at(restart(), PLACE)
    with restart().attempt(PLACE):
        pass
    killed_at(restart(), PLACE)
    with restart().attempt(PLACE):
        pass


def test_an_exception_that_stops_the_worker_is_no_end(restart: Restart) -> None:
    for _ in range(3):
        worker = restart()
        with pytest.raises(RuntimeError), worker.attempt(PLACE):
            raise RuntimeError("the model broke")
        worker.close()  # nothing to give back
    with pytest.raises(Quarantined), restart().attempt(PLACE):
        pass


def test_an_orderly_stop_gives_back(restart: Restart) -> None:
    for _ in range(5):
        worker = restart()
        killed_at(worker, PLACE)
        worker.close()
    for _ in range(2):
        killed_at(restart(), PLACE)
    worker = restart()
    killed_at(worker, PLACE)
    worker.close()  # the two deaths before are remembered
    killed_at(restart(), PLACE)
    with pytest.raises(Quarantined), restart().attempt(PLACE):
        pass


def test_a_rebalance_gives_back_what_others_got(restart: Restart) -> None:
    for _ in range(3):
        worker = restart()
        killed_at(worker, PLACE)
        killed_at(restart(), Place("uploads", 4, 0))
        worker.release([TopicPartition("uploads", 3)])
    with restart().attempt(PLACE):
        pass
    with pytest.raises(Quarantined), restart().attempt(Place("uploads", 4, 0)):
        pass


def test_a_late_end_of_released_work_does_not_forget_the_new_owners_attempt(restart: Restart) -> None:
    old, new = restart(), restart()
    with old.attempt(PLACE):
        old.release([TopicPartition("uploads", 3)])
        killed_at(new, PLACE)
    for _ in range(2):
        killed_at(restart(), PLACE)
    with pytest.raises(Quarantined), restart().attempt(PLACE):
        pass


def test_suspects_are_tried_one_at_a_time(restart: Restart) -> None:
    killed_at(restart(), PLACE, OTHER)
    worker = restart()
    begun = threading.Event()

    def try_other() -> None:
        with worker.attempt(OTHER):
            begun.set()

    thread = threading.Thread(target=try_other)
    with worker.attempt(PLACE):
        thread.start()
        with worker.attempt(Place("uploads", 0, 0)):  # who is not suspected need not wait
            assert not begun.wait(0.2)
    assert begun.wait(5)
    thread.join()


def test_a_suspect_waits_no_longer_than_it_may(restart: Restart) -> None:
    killed_at(restart(), PLACE, OTHER)
    worker = restart()
    with worker.attempt(PLACE), pytest.raises(DeadlineExceeded), worker.attempt(OTHER, wait_s=0.05):
        raise AssertionError("was begun")
    with worker.attempt(OTHER):  # and may come again
        pass


def test_a_suspect_that_was_released_while_it_waited_leaves_the_new_owners_count(restart: Restart) -> None:
    killed_at(restart(), PLACE, OTHER)
    old = restart()

    def try_other() -> None:
        with old.attempt(OTHER):
            pass

    with ThreadPoolExecutor(1) as threads:
        with old.attempt(PLACE):
            waits = threads.submit(try_other)
            wait_for(lambda: bool(old._waiting), 5.0, "the other waits")
            old.release([TopicPartition(OTHER.topic, OTHER.partition)])
            killed_at(restart(), OTHER)
            killed_at(restart(), OTHER)
        waits.result(5)
    with pytest.raises(Quarantined), restart().attempt(OTHER):
        pass


def test_the_innocent_beside_the_guilty_go_free(restart: Restart) -> None:
    """As often as it takes: four uploads in flight, the third kills whoever tries it."""
    places = [Place("uploads", 0, offset) for offset in range(4)]
    guilty = places[2]
    killed_at(restart(), *places)
    answered: set[Place] = set()
    for _ in range(4):
        worker = restart()
        for place in places:
            if place in answered:
                continue
            if place != guilty:
                with worker.attempt(place):
                    answered.add(place)
                continue
            try:
                killed_at(worker, place)
                break
            except Quarantined:
                answered.add(place)
    assert answered == set(places)


def test_without_anywhere_to_count_nothing_is_quarantined() -> None:
    for _ in range(5):
        killed_at(Attempts(NoCounts(), "g", limit=1), PLACE)


def test_a_folder_that_is_away_quarantines_nobody_and_is_told_once(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    counts = FileCounts(folder)
    worker = Attempts(counts, "g", limit=1)
    with structlog.testing.capture_logs() as logs:
        with worker.attempt(PLACE):
            folder.rename(tmp_path / "moved")
            folder.write_text("what is here is no folder")
        for _ in range(3):
            killed_at(worker, OTHER)
            counts.add("x", 5)
        assert counts.begin("x") == 0
    assert [entry["event"] for entry in logs] == ["attempts_are_not_counted"]


def test_a_server_that_is_away_quarantines_nobody(cache: RedisCache) -> None:
    counts = SharedCounts(cache)
    cache.close()
    counts.add("x", 5)
    assert counts.begin("x") == 0
