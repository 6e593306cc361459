"""Decoding in disposable processes: what an upload does to one of them, others do not notice.

Each process has a place, and jobs are given places in the order of asking. A job that lasts
(``decode.long_after_s``) hands its place on and goes on beside the others, so that short ones do not wait
for it; as many may do so as there are places. It is the first two levels of a multilevel feedback queue
(Corbato et al., 1962), with the scheduling itself left to the operating system.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import queue
import select
import signal
import socket
import threading
from collections.abc import Iterator
from types import TracebackType
from typing import Any, NoReturn, Self

from worker.clock import Clock, Deadline
from worker.errors import DeadlineExceeded, DecoderCrashed, DecodersUnavailable, DecodeTimeout, SettingsError
from worker.media import sandbox
from worker.media.container import DecodeLimits
from worker.media.decoder_process import DecoderConfig
from worker.media.forkserver import DecoderProcess, ForkServer
from worker.media.handover import MESSAGE_BYTES, parse_answer, read_answer
from worker.media.types import Decoded, DecodeRequest, Media
from worker.settings import DecodeSettings

_ATTEMPTS = 2

log = logging.getLogger(__name__)


class _ProcessDied(Exception):
    """``str`` says by what."""


class DecodePool:
    """``settings.processes`` decoder processes for any number of threads.

    Nothing of the worker is ever forked, so it may start before or after Kafka clients and CUDA.
    """

    def __init__(self, settings: DecodeSettings, clock: Clock) -> None:
        """Raises SettingsError where ``settings.sandbox`` requires what this machine does not have."""
        self._settings = settings
        self._clock = clock
        self._closed = False
        self._server = ForkServer(_config(settings))
        # One entry for each place; None: the process there is gone and made anew when needed.
        self._idle: queue.LifoQueue[DecoderProcess | None] = queue.LifoQueue()
        for _ in range(settings.processes):
            self._idle.put(None)
        self._beside = threading.Semaphore(settings.processes)  # for jobs that have handed their place on

    def start(self) -> None:
        """Make all processes now rather than with the first uploads."""
        with contextlib.ExitStack() as stack:
            for _ in range(self._settings.processes):
                deadline = Deadline.after(self._clock, self._settings.job_timeout_s)
                stack.enter_context(self._checked_out(deadline))

    def decode(self, media: Media, request: DecodeRequest, deadline: Deadline) -> Decoded:
        """Decode in one of the processes; blocks. Raises MediaError, DeadlineExceeded or DecodersUnavailable.

        A job whose process dies is tried once more in a new one. ``Decoded.clips`` is the memory that
        the decoder process wrote to: it is released with the last reference to its arrays.
        """
        died = None
        for _ in range(_ATTEMPTS):
            with _descriptor(_memory_file()) as memory_fd:
                try:
                    answer = self._answer(media, request, memory_fd, deadline)
                except _ProcessDied as error:
                    died = error
                else:
                    return read_answer(answer, memory_fd, request)
        raise DecoderCrashed(f"two decoder processes died of this media, the last one by {died}")

    def close(self) -> None:
        """End all processes; jobs that still run fail with DecodersUnavailable."""
        self._closed = True
        idle = []
        with contextlib.suppress(queue.Empty):
            while True:
                idle.append(self._idle.get_nowait())
        for decoder in idle:
            if decoder is not None:
                self._bury(decoder)
            self._idle.put(None)  # whoever waits for a process finds out
        self._server.close()  # processes at work die with it

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextlib.contextmanager
    def _checked_out(self, deadline: Deadline) -> Iterator[DecoderProcess]:
        """A process of one's own. It comes back as it is, or not at all if anything was raised."""
        decoder = self._take(deadline)
        kept = None
        try:
            if decoder is None:
                decoder = self._make()
            yield decoder
            if (
                decoder.jobs_done < self._settings.jobs_per_process
                and not decoder.worn_out
                and not decoder.is_beside
                and not self._closed
            ):
                kept = decoder
        finally:
            if decoder is not None and kept is None:
                self._bury(decoder)
            if decoder is not None and decoder.is_beside:
                self._beside.release()
            else:
                self._idle.put(kept)

    def _take(self, deadline: Deadline) -> DecoderProcess | None:
        deadline.check("decoding began")
        try:
            decoder = self._idle.get(timeout=deadline.remaining_s)
        except queue.Empty:
            raise DeadlineExceeded("the upload's deadline passed while all decoders were busy") from None
        if decoder is not None and decoder.has_ended:  # killed from outside while it was idle
            self._bury(decoder)
            return None
        return decoder

    def _make(self) -> DecoderProcess:
        if self._closed:
            raise DecodersUnavailable("the decode pool is closed")
        try:
            return self._server.fork()
        except OSError as error:
            raise _unavailable("no decoder process can be started", error) from error

    def _bury(self, decoder: DecoderProcess) -> None:
        decoder.kill()
        self._server.exit_status(decoder)
        decoder.close()

    def _answer(
        self, media: Media, request: DecodeRequest, memory_fd: int, deadline: Deadline
    ) -> dict[str, Any]:
        with self._checked_out(deadline) as decoder:
            decoder.jobs_done += 1
            with _descriptor(_opened_again(media)) as media_fd:
                try:
                    socket.send_fds(decoder.jobs, [pickle.dumps(request)], [media_fd, memory_fd])
                except ConnectionError:
                    self._raise_died(decoder)
                except OSError as error:
                    raise _unavailable("a job cannot be handed to a decoder process", error) from error
            self._wait(decoder, deadline)
            try:
                message = decoder.jobs.recv(MESSAGE_BYTES)
            except ConnectionError:
                message = b""
            if not message:
                self._raise_died(decoder)
            answer = parse_answer(message)
            # Bad media may leave little memory or worse behind: the next upload gets a fresh process.
            decoder.worn_out = "reason" in answer
            return answer

    def _wait(self, decoder: DecoderProcess, deadline: Deadline) -> None:
        job_deadline = deadline.within(self._settings.job_timeout_s)
        poll = select.poll()
        poll.register(decoder.jobs, select.POLLIN)
        while not poll.poll(min(job_deadline.remaining_s, self._settings.long_after_s) * 1000):
            if deadline.passed:
                raise DeadlineExceeded("the upload's deadline passed while it was decoded")
            if job_deadline.passed:
                raise DecodeTimeout(
                    f"decoding took longer than decode.job_timeout_s = {self._settings.job_timeout_s:g}"
                )
            if self._hand_on(decoder):
                # It shares the processors from here on, and is not to suffer for it.
                job_deadline = deadline.within(self._settings.job_timeout_s)

    def _hand_on(self, decoder: DecoderProcess) -> bool:
        """Let another job begin beside this one, if there is no free place and not too many have done so."""
        if decoder.is_beside or not self._idle.empty() or not self._beside.acquire(blocking=False):
            return False
        decoder.is_beside = True
        self._idle.put(None)
        return True

    def _raise_died(self, decoder: DecoderProcess) -> NoReturn:
        decoder.kill()
        status = self._server.exit_status(decoder)
        if status == -signal.SIGXCPU:
            raise DecodeTimeout(
                f"decoding took more CPU time than decode.job_cpu_s = {self._settings.job_cpu_s:g}, "
                f"or than decode.cpu_s_per_media_s = {self._settings.cpu_s_per_media_s:g} for each second"
            )
        raise _ProcessDied(_cause(status))


@contextlib.contextmanager
def _descriptor(fd: int) -> Iterator[int]:
    try:
        yield fd
    finally:
        os.close(fd)


def _memory_file() -> int:
    try:
        return os.memfd_create("clips", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    except OSError as error:
        raise _unavailable("no memory file can be made", error) from error


def _opened_again(media: Media) -> int:
    """For reading only, and with an offset that nobody shares."""
    try:
        return os.open(f"/proc/self/fd/{media.file.fileno()}", os.O_RDONLY)
    except OSError as error:
        raise _unavailable("the media cannot be opened for a decoder process", error) from error


def _unavailable(what: str, error: OSError) -> DecodersUnavailable:
    """The worker's own shortage, of descriptors or memory: no upload can help it."""
    return DecodersUnavailable(f"{what}: {error}")


def _cause(status: int | None) -> str:
    if status is None:
        return "an unknown cause"
    return f"signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"


def _config(settings: DecodeSettings) -> DecoderConfig:
    limits = DecodeLimits(
        max_pixels=settings.max_pixels,
        max_frames=settings.max_frames,
        max_packets=settings.max_packets,
        max_streams=settings.max_streams,
        max_duration_s=settings.max_duration_s,
        probe_bytes=settings.probe_bytes,
    )
    return DecoderConfig(
        limits, settings.memory_bytes, settings.job_cpu_s, settings.cpu_s_per_media_s, _sandbox(settings)
    )


def _sandbox(settings: DecodeSettings) -> tuple[sandbox.Layer, ...]:
    if settings.sandbox == "off":
        return ()
    absent = sandbox.missing()
    if absent:
        why = ", ".join(f"{layer} ({reason})" for layer, reason in absent.items())
        if settings.sandbox == "require":
            raise SettingsError(
                f"decode.sandbox is require, and this machine has no {why}: allow it in the kernel and "
                "the container's profile, or set decode.sandbox to auto"
            )
        log.warning("decoders run without %s; decode.sandbox: require would stop the worker", why)
    return sandbox.layers()
