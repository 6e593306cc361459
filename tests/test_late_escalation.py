"""Under load: what would come too late is not begun."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.routes import BLACK, CLOCK, MIDDLE, WHITE, judge, moderator
from worker.inference.types import Inputs
from worker.media.pool import DecodePool
from worker.settings import DecodeSettings


@pytest.fixture(scope="module")
def pool() -> Iterator[DecodePool]:
    with DecodePool(DecodeSettings(processes=1), CLOCK) as pool:
        yield pool


def test_an_escalation_that_would_come_too_late_is_not_begun(pool: DecodePool) -> None:
    """Its time is left to those that wait behind it."""
    runs: list[int] = []
    entered, release = threading.Event(), threading.Event()

    def slow(inputs: Inputs) -> None:
        runs.append(len(inputs))
        if len(runs) == 1:
            time.sleep(3.0)
        else:
            entered.set()
            assert release.wait(20.0)

    with moderator(pool, before_escalation=slow) as route, ThreadPoolExecutor(1) as threads:
        judge(route, MIDDLE)  # tells how long a run takes
        busy = threads.submit(judge, route, WHITE, policy="strict")
        assert entered.wait(20.0)
        late = judge(route, BLACK, policy="strict", timeout_s=5.0)
        release.set()
        assert busy.result(20.0).decided_by == "escalation"
    assert (late.decision, late.decided_by, late.reason) == ("review", "filter", "deadline_exceeded")
    assert "escalation_decode" not in late.timings_ms
    assert len(runs) == 2
