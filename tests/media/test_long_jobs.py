"""Jobs that last hand their place on to the next one, and go on beside the others."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.media.test_pool import CLOCK, GOOD, REQUEST, children_of, decoders, eventually, server_pid, soon
from worker.errors import DeadlineExceeded, DecodeTimeout
from worker.media.pool import DecodePool
from worker.media.types import Media
from worker.settings import DecodeSettings


@pytest.fixture
def good() -> Iterator[Media]:
    with tempfile.TemporaryFile() as file:
        file.write(GOOD)
        file.flush()
        yield Media(file, len(GOOD), "")


def test_a_long_job_does_not_hold_up_the_next_ones(good: Media) -> None:
    settings = DecodeSettings(processes=1, long_after_s=0.2, job_timeout_s=1.5)
    with DecodePool(settings, CLOCK) as pool, ThreadPoolExecutor(1) as threads:
        stopped = decoders(pool)[-1]
        os.kill(stopped, signal.SIGSTOP)
        long = threads.submit(pool.decode, good, REQUEST, soon())
        assert eventually(lambda: pool._idle.qsize() == 0)
        for _ in range(3):
            assert pool.decode(good, REQUEST, soon()).clips.any()
        assert not long.done()
        with pytest.raises(DecodeTimeout):
            long.result(10)
        assert stopped not in children_of(server_pid(pool))
        assert len(children_of(server_pid(pool))) == pool._idle.qsize() == 1


def test_a_long_job_ends_as_any_other(good: Media) -> None:
    settings = DecodeSettings(processes=1, long_after_s=0.1)
    with DecodePool(settings, CLOCK) as pool, ThreadPoolExecutor(1) as threads:
        stopped = decoders(pool)[-1]
        os.kill(stopped, signal.SIGSTOP)
        long = threads.submit(pool.decode, good, REQUEST, soon())
        assert eventually(lambda: pool._idle.qsize() == 1 and pool._idle.queue[0] is None)
        os.kill(stopped, signal.SIGCONT)
        assert long.result(10).clips.any()
        assert eventually(lambda: stopped not in children_of(server_pid(pool)))
        assert pool._idle.qsize() == 1


def test_as_many_long_jobs_as_places_and_no_more(good: Media) -> None:
    settings = DecodeSettings(processes=1, long_after_s=0.1, job_timeout_s=1.0)
    with DecodePool(settings, CLOCK) as pool, ThreadPoolExecutor(2) as threads:
        os.kill(decoders(pool)[-1], signal.SIGSTOP)
        beside = threads.submit(pool.decode, good, REQUEST, soon())
        assert eventually(lambda: pool._idle.qsize() == 1 and pool._idle.queue[0] is None)
        with pool._checked_out(soon()) as decoder:
            os.kill(decoder.pid, signal.SIGSTOP)
        in_its_place = threads.submit(pool.decode, good, REQUEST, soon())
        assert eventually(lambda: pool._idle.qsize() == 0)
        with pytest.raises(DeadlineExceeded, match="busy"):
            pool.decode(good, REQUEST, soon(0.3))
        for hanging in (beside, in_its_place):
            with pytest.raises(DecodeTimeout):
                hanging.result(10)
        assert pool.decode(good, REQUEST, soon()).clips.any()
