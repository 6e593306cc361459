from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from worker.inference.own_thread import OwnThread


def test_all_calls_come_from_one_daemon_thread() -> None:
    own = OwnThread("own")
    with ThreadPoolExecutor(4) as pool:
        seen = {pool.submit(own.call, threading.current_thread).result() for _ in range(20)}
    (thread,) = seen
    assert thread.name == "own"
    assert thread.daemon
    own.close()
    thread.join(5.0)
    assert not thread.is_alive()


def test_values_and_errors_come_back_and_the_thread_goes_on() -> None:
    own = OwnThread("own")
    with pytest.raises(ValueError, match="invalid literal"):
        own.call(int, "no number")
    assert own.call(int, "11", base=2) == 3
    own.close()
