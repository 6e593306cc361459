"""Decoder processes that are killed, hang, or run out of memory; and those beside them."""

from __future__ import annotations

import errno
import gc
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from unittest.mock import Mock

import pytest

from models.spec import AudioInput, VideoInput
from tests.media.bombs import png_in_mov, png_that_says_it_is_small, vp8_of_16k
from tests.synthesis import Video, make_sound, number_of
from worker.clock import Deadline, SystemClock
from worker.errors import (
    DeadlineExceeded,
    DecoderCrashed,
    DecodersUnavailable,
    DecodeTimeout,
    MediaError,
    MediaLimit,
    NoVideo,
    Undecodable,
)
from worker.media.decode import decode_file
from worker.media.pool import DecodePool
from worker.media.sampling import At, Uniform
from worker.media.types import DecodeRequest, Media
from worker.settings import DecodeSettings

CLOCK = SystemClock()
VIDEO = VideoInput(frames=5, frame_rate_hz=5, height=64, width=100)
REQUEST = DecodeRequest(Uniform(8), VIDEO, AudioInput(frames=100))
GOOD = Video(duration_s=2, tone_hz=440).make()
MiB = 1024 * 1024


_opened: list[Media] = []


def media(data: bytes) -> Media:
    """Closed at the end of the test."""
    file = tempfile.TemporaryFile()  # noqa: SIM115
    file.write(data)
    file.flush()
    _opened.append(Media(file, len(data), ""))
    return _opened[-1]


@pytest.fixture(autouse=True)
def _close_media() -> Iterator[None]:
    yield
    while _opened:
        _opened.pop().close()


def soon(seconds: float = 20.0) -> Deadline:
    return Deadline.after(CLOCK, seconds)


def decoders(pool: DecodePool) -> list[int]:
    """Process ids of the idle decoders; the last one is used next."""
    return [decoder.pid for decoder in pool._idle.queue if decoder is not None]


def children_of(pid: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == pid and fields[0] != "Z":
                found.append(int(entry.name))
    return found


def server_pid(pool: DecodePool) -> int:
    process = pool._server._process
    assert process is not None
    return process.pid


def eventually(holds: Callable[[], bool], seconds: float = 5.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if holds():
            return True
        time.sleep(0.01)
    return holds()


@pytest.fixture
def pool() -> Iterator[DecodePool]:
    with DecodePool(DecodeSettings(processes=2, job_timeout_s=10), CLOCK) as running:
        yield running


def test_it_gives_what_decoding_in_process_gives(pool: DecodePool, tmp_path: Path) -> None:
    path = tmp_path / "video"
    path.write_bytes(GOOD)
    here = decode_file(path, REQUEST)
    there = pool.decode(media(GOOD), REQUEST, soon())
    assert there.info == here.info
    assert there.starts_s == here.starts_s
    assert (there.clips == here.clips).all()
    assert (there.pts_s == here.pts_s).all()
    assert there.log_mel is not None
    assert here.log_mel is not None
    assert (there.log_mel == here.log_mel).all()
    assert there.decode_s > 0


def test_the_arrays_outlive_the_pool() -> None:
    with DecodePool(DecodeSettings(processes=1), CLOCK) as pool:
        result = pool.decode(media(GOOD), DecodeRequest(At((0.0,)), VIDEO), soon())
    result.clips[0, 1] = 0  # writable
    assert [number_of(picture) for picture in result.clips[0]] == [0, 0, 10, 15, 20]


@pytest.mark.parametrize(
    ("data", "error"),
    [(b"nonsense", Undecodable), (make_sound(), NoVideo), (b"", Undecodable)],
    ids=["nonsense", "sound", "empty"],
)
def test_errors_cross_over(data: bytes, error: type[MediaError], pool: DecodePool) -> None:
    before = decoders(pool)
    with pytest.raises(error) as raised:
        pool.decode(media(data), REQUEST, soon())
    assert type(raised.value) is error
    assert str(raised.value)
    assert decoders(pool) == before[:-1]  # a process that met bad media is not used again


@pytest.mark.parametrize("bomb", [png_in_mov, png_that_says_it_is_small])
def test_a_picture_of_a_gigabyte(bomb: Callable[[int, int], bytes], pool: DecodePool) -> None:
    with pytest.raises(MediaError):
        pool.decode(media(bomb(16000, 16000)), REQUEST, soon())
    assert pool.decode(media(GOOD), REQUEST, soon()).clips.any()


def test_a_vp8_bomb(pool: DecodePool) -> None:
    with pytest.raises(MediaError):
        pool.decode(media(vp8_of_16k()), REQUEST, soon())
    assert pool.decode(media(GOOD), REQUEST, soon()).clips.any()


def test_the_memory_of_a_process_is_bounded() -> None:
    """Even where no limit on pixels stands before it."""
    settings = DecodeSettings(processes=1, max_pixels=2**31, memory_bytes=256 * MiB)
    with DecodePool(settings, CLOCK) as pool:
        with pytest.raises((MediaLimit, Undecodable)):
            pool.decode(media(png_in_mov(16000, 16000)), REQUEST, soon())
        assert pool.decode(media(GOOD), REQUEST, soon()).clips.any()


def test_clips_that_need_more_memory_than_allowed() -> None:
    wide = VideoInput(frames=64, frame_rate_hz=64, height=1024, width=1024)  # 192 MiB a clip
    settings = DecodeSettings(processes=1, memory_bytes=128 * MiB)
    with DecodePool(settings, CLOCK) as pool, pytest.raises(MediaLimit, match="memory_bytes"):
        pool.decode(media(GOOD), DecodeRequest(At((0.0,)), wide), soon())


def test_a_killed_process_is_replaced_and_the_job_repeated(pool: DecodePool) -> None:
    long = media(Video(duration_s=10, size=(640, 480)).make())
    dense = DecodeRequest(Uniform(10), VideoInput(frames=25, frame_rate_hz=25, height=512, width=512))
    victims = set(children_of(server_pid(pool)))
    with ThreadPoolExecutor(1) as threads:
        future = threads.submit(pool.decode, long, dense, soon())
        assert eventually(lambda: pool._idle.qsize() == 1)
        busy = victims - set(decoders(pool))
        assert len(busy) == 1
        os.kill(busy.pop(), signal.SIGKILL)
        assert future.result(20).clips.any()
    assert pool._idle.qsize() == 2


def test_media_that_kills_twice_is_given_up(pool: DecodePool, monkeypatch: pytest.MonkeyPatch) -> None:
    real_fork = pool._server.fork

    def doomed() -> object:
        decoder = real_fork()
        os.kill(decoder.pid, signal.SIGSEGV)
        return decoder

    for decoder in decoders(pool):
        os.kill(decoder, signal.SIGKILL)
    monkeypatch.setattr(pool._server, "fork", doomed)
    with pytest.raises(DecoderCrashed, match="SIGSEGV"):
        pool.decode(media(GOOD), REQUEST, soon())
    monkeypatch.undo()
    assert pool.decode(media(GOOD), REQUEST, soon()).clips.any()


def test_a_process_killed_while_idle_costs_no_attempt(pool: DecodePool) -> None:
    victims = decoders(pool)
    for victim in victims:
        os.kill(victim, signal.SIGKILL)
    for _ in range(4):
        assert pool.decode(media(GOOD), REQUEST, soon()).clips.any()
    assert not set(victims) & set(children_of(server_pid(pool)))


def test_a_hanging_process_is_killed_at_the_time_out() -> None:
    with DecodePool(DecodeSettings(processes=2, job_timeout_s=0.5), CLOCK) as pool:
        stopped = decoders(pool)[-1]  # the next to be used
        os.kill(stopped, signal.SIGSTOP)
        begun = time.monotonic()
        with pytest.raises(DecodeTimeout, match="job_timeout_s"):
            pool.decode(media(GOOD), REQUEST, soon())
        assert time.monotonic() - begun < 2
        assert stopped not in children_of(server_pid(pool))
        assert pool.decode(media(GOOD), REQUEST, soon()).clips.any()


def test_the_upload_s_own_deadline_counts_too(pool: DecodePool) -> None:
    os.kill(decoders(pool)[-1], signal.SIGSTOP)
    with pytest.raises(DeadlineExceeded):
        pool.decode(media(GOOD), REQUEST, soon(0.3))
    with pytest.raises(DeadlineExceeded):
        pool.decode(media(GOOD), REQUEST, soon(0.0))


def test_waiting_for_a_process_ends_with_the_deadline() -> None:
    with DecodePool(DecodeSettings(processes=1, job_timeout_s=5), CLOCK) as pool:
        os.kill(decoders(pool)[-1], signal.SIGSTOP)
        with ThreadPoolExecutor(1) as threads:
            hanging = threads.submit(pool.decode, media(GOOD), REQUEST, soon(1.5))
            assert eventually(lambda: pool._idle.qsize() == 0)
            with pytest.raises(DeadlineExceeded, match="busy"):
                pool.decode(media(GOOD), REQUEST, soon(0.2))
            with pytest.raises(DeadlineExceeded):
                hanging.result(10)


def test_cpu_time_is_bounded() -> None:
    """The system counts whole seconds, so a process with little time gets through some jobs."""
    settings = DecodeSettings(processes=1, job_cpu_s=0.01, job_timeout_s=20)
    video = media(Video(duration_s=4, size=(640, 480)).make())
    dense = DecodeRequest(Uniform(4), VideoInput(frames=25, frame_rate_hz=25, height=512, width=512))

    def decode_many(pool: DecodePool) -> None:
        for _ in range(50):
            pool.decode(video, dense, soon(30))

    with DecodePool(settings, CLOCK) as pool, pytest.raises(DecodeTimeout, match="job_cpu_s"):
        decode_many(pool)


def test_good_uploads_pass_while_bad_ones_pour_in(pool: DecodePool) -> None:
    bombs = [media(png_that_says_it_is_small(9000, 9000)), media(b"nonsense"), media(vp8_of_16k())]
    good = media(GOOD)
    stop = threading.Event()

    def pour() -> int:
        poured = 0
        while not stop.is_set():
            with pytest.raises(MediaError):
                pool.decode(bombs[poured % len(bombs)], REQUEST, soon())
            poured += 1
        return poured

    with ThreadPoolExecutor(1) as threads:
        pouring = threads.submit(pour)
        for _ in range(10):
            assert pool.decode(good, REQUEST, soon()).clips.any()
        stop.set()
        assert pouring.result(20) > 0


def test_processes_are_replaced_after_their_share_of_jobs() -> None:
    with DecodePool(DecodeSettings(processes=1, jobs_per_process=3), CLOCK) as pool:
        seen = set()
        for _ in range(7):
            pool.decode(media(GOOD), REQUEST, soon())
            seen.update(children_of(server_pid(pool)))
        assert len(seen) >= 2
        assert len(children_of(server_pid(pool))) <= 1


def test_the_fork_server_itself_is_replaced(pool: DecodePool) -> None:
    os.kill(server_pid(pool), signal.SIGKILL)
    assert pool.decode(media(GOOD), REQUEST, soon()).clips.any()


def test_many_threads_share_few_processes(pool: DecodePool) -> None:
    with ThreadPoolExecutor(8) as threads:
        results = list(threads.map(lambda _: pool.decode(media(GOOD), REQUEST, soon()), range(24)))
    assert all((result.clips == results[0].clips).all() for result in results)


def test_nothing_is_left_behind() -> None:
    def descriptors() -> list[str]:
        gc.collect()
        links = [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")]
        return sorted(os.readlink(link) for link in links if os.path.lexists(link))

    before = descriptors()
    file, bad = media(GOOD), media(b"x")
    with DecodePool(DecodeSettings(processes=2), CLOCK) as pool:
        server = server_pid(pool)
        for _ in range(5):
            pool.decode(file, REQUEST, soon())
        with pytest.raises(MediaError):
            pool.decode(bad, REQUEST, soon())
        os.kill(decoders(pool)[0], signal.SIGKILL)
        pool.decode(file, REQUEST, soon())
        processes = children_of(server)
    file.close()
    bad.close()
    assert descriptors() == before
    assert eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in [server, *processes]))


@pytest.mark.parametrize(("module", "call"), [(os, "memfd_create"), (os, "open"), (socket, "send_fds")])
def test_a_worker_short_of_descriptors_is_not_the_upload_s_fault(
    module: ModuleType, call: str, pool: DecodePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, exhausted = media(GOOD), OSError(errno.EMFILE, "Too many open files")
    with monkeypatch.context() as patch:
        patch.setattr(module, call, Mock(side_effect=exhausted))
        with pytest.raises(DecodersUnavailable, match="Too many open files"):
            pool.decode(good, REQUEST, soon())
    assert pool.decode(good, REQUEST, soon()).clips.any()


def test_a_closed_pool_refuses() -> None:
    pool = DecodePool(DecodeSettings(processes=1), CLOCK)
    pool.start()
    pool.close()
    with pytest.raises(DecodersUnavailable, match="closed"):
        pool.decode(media(GOOD), REQUEST, soon())


def test_closing_ends_jobs_that_still_run() -> None:
    pool = DecodePool(DecodeSettings(processes=1), CLOCK)
    pool.start()
    server, (stopped,) = server_pid(pool), decoders(pool)
    os.kill(stopped, signal.SIGSTOP)
    with ThreadPoolExecutor(2) as threads:
        jobs = [threads.submit(pool.decode, media(GOOD), REQUEST, soon()) for _ in range(2)]
        assert eventually(lambda: pool._idle.qsize() == 0)
        pool.close()
        for job in jobs:
            with pytest.raises(DecodersUnavailable):
                job.result(10)
    assert eventually(lambda: not alive(server) and not alive(stopped))
    assert pool._server._process is None


WORKER = """
import sys, time
from worker.clock import SystemClock
from worker.media.pool import DecodePool
from worker.settings import DecodeSettings
pool = DecodePool(DecodeSettings(processes=2), SystemClock())
pool.start()
print(pool._server._process.pid, *[d.pid for d in pool._idle.queue], flush=True)
time.sleep(60)
"""


def test_decoders_die_with_the_worker() -> None:
    """Also one that is stopped and cannot notice anything itself."""
    with subprocess.Popen(
        [sys.executable, "-c", WORKER], stdout=subprocess.PIPE, env={**os.environ, "PLANTED": "secret"}
    ) as worker:
        assert worker.stdout is not None
        pids = [int(pid) for pid in worker.stdout.readline().split()]
        assert len(pids) == 3
        for pid in pids:
            assert b"PLANTED" not in Path(f"/proc/{pid}/environ").read_bytes()
        os.kill(pids[1], signal.SIGSTOP)
        worker.kill()
    assert eventually(lambda: not any(alive(pid) for pid in pids))


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
