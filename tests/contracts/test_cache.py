"""One contract over every ScoreCache, and what only the one with a server can meet."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis

from tests.contracts.cache_examples import (
    CLOCK,
    OF_TWO_MODELS,
    SCORES,
    WITH_EMBEDDING,
    WITH_ESCALATION,
    new_key,
    redis_cache,
    same,
    soon,
)
from worker.cache import MemoryCache, ScoreCache, cache_key
from worker.cache_format import FORMAT, MAX_VALUE_BYTES, pack
from worker.cascade.types import ContentScores
from worker.errors import SettingsError


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


class Contract:
    """What every cache does. Subclasses say over which store (`made`)."""

    def test_what_was_never_put_is_a_miss(self, made: Made) -> None:
        assert made.another().get(new_key()) is None
        assert made.events == {"miss": 1}

    @pytest.mark.parametrize(
        "scores",
        [SCORES, WITH_ESCALATION, OF_TWO_MODELS, WITH_EMBEDDING],
        ids=["filter only", "with escalation", "with an additional model", "with an embedding"],
    )
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
        shared = MemoryCache(64, lambda event: events.update([event]))
        return Made(lambda _: shared, events)


class TestRedisContract(Contract):
    @pytest.fixture
    def made(self, redis_url: str) -> Iterator[Made]:
        made = Made(lambda events: redis_cache(redis_url, events), Counter())
        yield made
        made.close()


class TestMemory:
    def test_the_least_recently_used_goes_first(self) -> None:
        cache = MemoryCache(2, lambda event: None)
        cache.put("a", SCORES)
        cache.put("b", SCORES)
        cache.get("a")
        cache.put("c", SCORES)
        assert [cache.get(key) is not None for key in "abc"] == [True, False, True]


def test_a_redis_lease_lasts_as_long_as_its_worker_and_little_longer(redis_url: str) -> None:
    worker, other = (redis_cache(redis_url, Counter(), lease_s=1.0) for _ in range(2))
    key = new_key()
    assert worker.lease(key, soon()) is not None
    assert other.lease(key, soon(4.0)) is None  # waits for half of it, twice as long as a lease
    worker.close()  # without a word, as one that was killed
    begun_s = CLOCK.monotonic_s()
    assert other.lease(key, soon()) is not None
    assert CLOCK.monotonic_s() - begun_s < 4.0
    other.close()


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
    "of another format": GOOD.replace(f'"format":{FORMAT}', '"format":1').encode(),
    "with more keys": GOOD.replace('{"format"', '{"decision":"allow","format"').encode(),
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
