"""Bounds the bytes on their way to the broker: the client itself bounds nothing."""

from __future__ import annotations

import threading

from worker.stream.types import Outgoing, Record

RECORD_OVERHEAD_BYTES = 128
HEADER_OVERHEAD_BYTES = 10


def size_bytes(record: Outgoing | Record) -> int:
    """What a record takes on the wire, without compression, rounded up."""
    headers = sum(len(name.encode()) + len(value) + HEADER_OVERHEAD_BYTES for name, value in record.headers)
    return len(record.key or b"") + len(record.value or b"") + headers + RECORD_OVERHEAD_BYTES


class Room:
    """Bounds the bytes in flight. A record larger than all of it may go alone."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._taken = 0
        self._changed = threading.Condition()

    def take(self, size: int, timeout_s: float) -> bool:
        with self._changed:
            if not self._changed.wait_for(
                lambda: self._taken == 0 or self._taken + size <= self._limit, timeout_s
            ):
                return False
            self._taken += size
            return True

    def give(self, size: int) -> None:
        with self._changed:
            self._taken -= size
            self._changed.notify_all()
