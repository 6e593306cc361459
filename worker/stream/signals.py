"""How a process is asked to stop."""

from __future__ import annotations

import os
import signal
from types import FrameType

from worker.stream.loop import StreamLoop


def stop_on_signals(loop: StreamLoop, drain_timeout_s: float) -> None:
    """The first SIGTERM or SIGINT stops in order, the second at once."""

    def stop(number: int, frame: FrameType | None) -> None:
        if stop_requested:
            os._exit(128 + number)
        stop_requested.append(number)
        loop.stop(drain_timeout_s)

    stop_requested: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
