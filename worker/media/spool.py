"""A private file that takes in an upload: counted, digested and bounded while it arrives."""

from __future__ import annotations

import hashlib
import tempfile
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from worker.clock import Deadline
from worker.errors import DigestMismatch, SourceTooLarge, SourceUnavailable
from worker.media.types import Media

CHUNK_BYTES = 256 * 1024


class Spool:
    """Has no name in any folder: it is gone with the process, also after ``kill -9``.

    Use it as a context manager; what ``finish`` returned survives, anything else is closed.
    """

    def __init__(
        self,
        max_bytes: int,
        total_s: float,
        deadline: Deadline,
        slow: type[SourceUnavailable] = SourceUnavailable,
        folder: Path | None = None,
    ) -> None:
        """``slow`` is raised when the source takes longer than ``total_s``. ``folder`` None: TMPDIR."""
        self._slow = slow
        self._max_bytes = max_bytes
        self._total_s = total_s
        self._deadline = deadline
        self.until = deadline.within(total_s)  # for the time-outs of single operations
        self._digest = hashlib.sha256()
        self.size_bytes = 0  # so far
        self._finished = False
        self._folder = folder
        try:
            self._file = tempfile.TemporaryFile(prefix="sluice-", dir=folder)  # noqa: SIM115 - Media closes it
        except OSError as error:
            raise self._no_space(error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._finished:
            with suppress(OSError):  # on a full disk it tries to write the rest, which nobody wants
                self._file.close()

    def expect(self, size_bytes: int | None) -> None:
        """Refuse early when the sender announces too much. What it announces is not believed otherwise."""
        if size_bytes is not None and size_bytes > self._max_bytes:
            raise SourceTooLarge(
                f"the upload has {size_bytes} bytes, over fetch.max_bytes = {self._max_bytes}"
            )

    def write(self, chunk: bytes) -> None:
        self.check_time()
        self.size_bytes += len(chunk)
        if self.size_bytes > self._max_bytes:
            raise SourceTooLarge(f"the upload has more bytes than fetch.max_bytes = {self._max_bytes}")
        self._digest.update(chunk)
        try:
            self._file.write(chunk)
        except OSError as error:
            raise self._no_space(error) from error

    def check_time(self) -> None:
        """Raise DeadlineExceeded for the upload's own deadline, ``slow`` for the fetch's."""
        self._deadline.check("it was fetched")
        if self.until.passed:
            raise self._slow(f"the fetch took longer than fetch.total_timeout_s = {self._total_s:g}")

    def finish(self, expected_sha256: str | None) -> Media:
        sha256 = self._digest.hexdigest()
        if expected_sha256 is not None and expected_sha256.lower() != sha256:
            raise DigestMismatch(f"the event names sha256 {expected_sha256}, the bytes have {sha256}")
        try:
            self._file.flush()
        except OSError as error:
            raise self._no_space(error) from error
        self._file.seek(0)
        self._finished = True
        return Media(self._file, self.size_bytes, sha256)

    def _no_space(self, error: OSError) -> SourceUnavailable:
        folder = self._folder or "the folder for temporary files (TMPDIR)"
        return SourceUnavailable(f"cannot write to {folder}: {error.strerror}")
