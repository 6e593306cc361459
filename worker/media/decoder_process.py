"""The program of the decoder processes, and of the process that they are forked from.

    worker ──Popen──> fork server ──fork──> decoder process (one job at a time, then recycled)
       └───────────── a socket to each ─────────────┘

The fork server has imported everything and decodes nothing; a fork of it is ready in milliseconds.
It starts with an environment of its own, so no decoder process has ever seen the worker's secrets.
A decoder process ends when its socket closes (the worker is gone) and dies with the fork server, so
nothing is left after ``kill -9``; media and frames travel as descriptors of files without names. It opens
none itself, which ``sandbox`` makes sure of.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import math
import os
import pickle
import pkgutil
import resource
import signal
import socket
import sys
from dataclasses import asdict, dataclass
from typing import NoReturn

import av.logging

from worker.errors import MediaError, MediaLimit
from worker.media import sandbox
from worker.media.container import DecodeLimits
from worker.media.decode import decode
from worker.media.handover import MESSAGE_BYTES, ClipBuffer, error_answer
from worker.media.types import DecodeRequest

_PR_SET_PDEATHSIG = 1
_OPEN_FILES = 64

READY = b"ready"  # first message of a decoder process: its confinement stands


@dataclass(frozen=True, slots=True)
class DecoderConfig:
    """What bounds every job of a decoder process."""

    limits: DecodeLimits
    memory_bytes: int  # address space beyond what the process starts with
    cpu_s: float  # of one job
    cpu_s_per_media_s: float  # of one job, for each second of the video; a shorter one counts as one second
    layers: tuple[sandbox.Layer, ...] = ()  # of the sandbox

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> DecoderConfig:
        fields = json.loads(text)
        limits, layers = DecodeLimits(**fields.pop("limits")), tuple(fields.pop("layers"))
        return cls(limits, layers=layers, **fields)


def main() -> None:
    """The fork server: ``python -c ... <descriptor of the control socket> <config as JSON>``."""
    control = socket.socket(fileno=int(sys.argv[1]))
    config = DecoderConfig.from_json(sys.argv[2])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the worker decides when to stop
    av.logging.set_level(None)  # uploads do not write to our logs
    import_everything()
    gc.collect()
    gc.freeze()  # pages stay shared between forks
    statuses: dict[int, int] = {}
    while True:
        message = control.recv(MESSAGE_BYTES)
        if not message:
            sys.exit(0)  # the worker is gone, and the decoder processes go with us
        command = json.loads(message)
        _collect(statuses)
        if command["do"] == "fork":
            _fork(control, config)
        else:
            control.send(json.dumps({"status": statuses.pop(command["pid"], None)}).encode())


def import_everything() -> None:
    """PyAV and numpy import parts of themselves at the first use, when no file can be opened any more."""
    names = [module.name for module in pkgutil.walk_packages(av.__path__, "av.")]
    for name in ("numpy.fft", "numpy.ma", *names):
        if name != "av.__main__":
            importlib.import_module(name)


def _collect(statuses: dict[int, int]) -> None:
    """Take up the exit status of every process that has ended."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        statuses[pid] = os.waitstatus_to_exitcode(status)


def _fork(control: socket.socket, config: DecoderConfig) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    server_pid = os.getpid()
    pid = os.fork()
    if pid == 0:
        control.close()
        ours.close()
        _decoder_process(theirs, config, server_pid)
    theirs.close()
    pidfd = os.pidfd_open(pid)  # names this process for good: numbers are used again
    socket.send_fds(control, [json.dumps({"pid": pid}).encode()], [ours.fileno(), pidfd])
    os.close(pidfd)
    ours.close()


def _decoder_process(jobs: socket.socket, config: DecoderConfig, server_pid: int) -> NoReturn:
    try:
        _confine(config, server_pid)
        jobs.send(READY)
        while True:
            message, fds, _, _ = socket.recv_fds(jobs, MESSAGE_BYTES, 2, socket.MSG_CMSG_CLOEXEC)
            if not message:
                os._exit(0)
            answer = _run(pickle.loads(message), fds[0], fds[1], config)  # noqa: S301 - from the worker
            for fd in fds:
                os.close(fd)
            jobs.send(answer)
            gc.collect()  # PyAV's objects refer to each other: their pictures would pile up to the limit
    except BrokenPipeError:
        os._exit(0)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        os._exit(70)  # never run the fork server's own code in a fork


def _run(request: DecodeRequest, media_fd: int, memory_fd: int, config: DecoderConfig) -> bytes:
    used = resource.getrusage(resource.RUSAGE_SELF)
    used_s = used.ru_utime + used.ru_stime

    def limit_cpu(seconds: float) -> None:
        limit_s = math.ceil(used_s + min(seconds, config.cpu_s))
        resource.setrlimit(resource.RLIMIT_CPU, (limit_s, resource.RLIM_INFINITY))

    def on_duration(media_s: float) -> None:
        limit_cpu(max(media_s, 1.0) * config.cpu_s_per_media_s)

    limit_cpu(config.cpu_s)
    buffer = ClipBuffer(memory_fd, config.memory_bytes)
    try:
        with open(media_fd, "rb", closefd=False) as media:
            decoded = decode(media, request, config.limits, buffer.allocate, on_duration=on_duration)
        return buffer.answer(decoded)
    except MediaError as error:
        return error_answer(error)
    except (MemoryError, OSError) as error:
        what = error.strerror if isinstance(error, OSError) else "out of memory"
        return error_answer(MediaLimit(f"decoding took more than its process may use: {what}"))


def _confine(config: DecoderConfig, server_pid: int) -> None:
    """Give up what decoding does not need. Hard limits: they cannot be taken back."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != server_pid:
        os._exit(0)  # it died before we asked to be told
    address_space = _address_space_bytes() + config.memory_bytes
    for limit, value in (
        (resource.RLIMIT_AS, address_space),
        (resource.RLIMIT_FSIZE, config.memory_bytes),  # the memory file; nothing else is open for writing
        (resource.RLIMIT_NOFILE, _OPEN_FILES),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(limit, (value, value))
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")  # when the machine is short of memory, this process goes first
    sandbox.confine(config.layers)


def _address_space_bytes() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * resource.getpagesize()
