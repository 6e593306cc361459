"""What a decoder process that was taken over can still do: tried from inside of one.

A request is unpickled in the decoder process, so a request that runs code on the way stands for an attacker.
"""

from __future__ import annotations

import errno
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from models.spec import AudioInput, VideoInput
from tests.synthesis import Video, still
from worker.clock import Deadline, SystemClock
from worker.errors import SettingsError, Undecodable
from worker.media import sandbox
from worker.media.pool import DecodePool
from worker.media.sampling import Uniform
from worker.media.types import DecodeRequest, Media
from worker.settings import DecodeSettings

CLOCK = SystemClock()
REQUEST = DecodeRequest(
    Uniform(4), VideoInput(frames=4, frame_rate_hz=8, height=32, width=32), AudioInput(frames=9)
)
GOOD = Video(duration_s=1, size=(64, 48)).make()

# Runs `attempt`, and answers with what came of it as bad media does: by the message of its error.
INTRUDER = """
import ctypes, errno, mmap, os, resource, socket, threading
from worker.errors import Undecodable

def call(number, *arguments):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(*map(ctypes.c_long, (number, *arguments))) < 0:
        raise OSError(ctypes.get_errno(), "")

def in_thread(attempt):
    raised = []
    def run():
        try:
            attempt()
        except OSError as error:
            raised.append(error)
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if raised:
        raise raised[0]

class Request:
    def __getattr__(self, name):
        try:
            attempt()
        except OSError as error:
            raise Undecodable(str(error.errno))
        raise Undecodable("done")

def attempt():
    {attempt}
"""


class Intruder:
    def __init__(self, attempt: str) -> None:
        self._source = INTRUDER.format(attempt=attempt)

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return eval, (f"(lambda names: exec({self._source!r}, names) or names['Request']())({{}})",)


def tried(pool: DecodePool, attempt: str) -> str:
    """`done`, or the name of the errno that stopped it."""
    with pytest.raises(Undecodable) as caught:
        decode(pool, GOOD, cast(DecodeRequest, Intruder(attempt)))
    answer = str(caught.value)
    return answer if answer == "done" else errno.errorcode[int(answer)]


def decode(pool: DecodePool, data: bytes, request: DecodeRequest = REQUEST) -> Any:
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        return pool.decode(Media(file, len(data), ""), request, Deadline.after(CLOCK, 20))


def start(**settings: Any) -> DecodePool:
    return DecodePool(DecodeSettings(processes=1, **settings), CLOCK)


@pytest.fixture(scope="module")
def pool() -> Iterator[DecodePool]:
    if absent := sandbox.missing():
        pytest.skip(f"this kernel lacks {absent}")
    with start(sandbox="require") as running:
        yield running


@pytest.fixture(scope="module")
def without_seccomp() -> Iterator[DecodePool]:
    if "landlock" in sandbox.missing():
        pytest.skip("this kernel lacks Landlock")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sandbox, "layers", lambda: ("landlock",))
        running = start()
    with running:
        yield running


@pytest.fixture(scope="module")
def unconfined() -> Iterator[DecodePool]:
    with start(sandbox="off") as running:
        yield running


FORBIDDEN = [
    "open('/etc/passwd')",
    "open('/proc/self/environ')",
    "open('/tmp/planted', 'w')",
    "os.listdir('/')",
    "os.stat('/etc/passwd')",
    "os.unlink('/tmp/planted')",
    "os.memfd_create('x')",
    "socket.socket()",
    "socket.socket(socket.AF_UNIX)",
    "socket.socketpair()",
    "os.fork()",
    "os.posix_spawn('/bin/true', ['true'], {})",
    "os.execv('/bin/true', ['true'])",
    "os.kill(os.getppid(), 0)",
    "call(101, 16, os.getpid(), 0, 0)",  # ptrace
    "call(310, os.getpid(), 0, 0, 0, 0, 0)",  # process_vm_readv
    "call(425, 8, 0)",  # io_uring_setup
    "call(321, 0, 0, 0)",  # bpf
    "call(272, 0x10000000)",  # unshare
    "call(16, 2, 0x5412, 0)",  # ioctl TIOCSTI: keys for the worker's terminal
    "mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC)",
    "resource.prlimit(os.getppid(), resource.RLIMIT_CPU, (1, 1))",
    "call(302, 0, resource.RLIMIT_AS, 0, 0)",  # prlimit64 of its own memory
]


@pytest.mark.parametrize("attempt", FORBIDDEN)
def test_what_decoding_does_not_need_is_forbidden(attempt: str, pool: DecodePool) -> None:
    assert tried(pool, attempt) == "EPERM"


def test_the_attempts_are_no_wishful_thinking(unconfined: DecodePool) -> None:
    for attempt in (
        "open('/etc/passwd')",
        "socket.socket()",
        "os.stat('/etc/passwd')",
        "os.memfd_create('x')",
    ):
        assert tried(unconfined, attempt) == "done", attempt


@pytest.mark.parametrize(
    ("attempt", "outcome"),
    [
        ("open('/etc/passwd')", "EACCES"),
        ("open('/tmp/planted', 'w')", "EACCES"),
        ("os.listdir('/')", "EACCES"),
        ("os.execv('/bin/true', ['true'])", "EACCES"),
        ("os.kill(os.getppid(), 0)", "EPERM"),
    ],
)
def test_landlock_alone_keeps_files_and_processes_away(
    attempt: str, outcome: str, without_seccomp: DecodePool
) -> None:
    assert tried(without_seccomp, attempt) == outcome


def test_threads_may_be_started_and_are_confined_too(pool: DecodePool) -> None:
    assert tried(pool, "in_thread(os.getpid)") == "done"
    assert tried(pool, "in_thread(socket.socket)") == "EPERM"


VIDEOS = {
    "h264": Video(duration_s=1, tone_hz=440),
    "hevc": Video(duration_s=1, codec="libx265", options=(("x265-params", "log-level=none"),)),
    "vp8": Video(duration_s=1, codec="libvpx", container="webm", tone_hz=440, sound_codec="libopus"),
    "vp9": Video(duration_s=1, codec="libvpx-vp9", container="webm"),
    "av1": Video(duration_s=1, codec="libsvtav1", options=(("preset", "12"),)),
    "mpeg2": Video(duration_s=1, codec="mpeg2video", container="avi", tone_hz=440, sound_codec="mp2"),
    "mpeg4": Video(duration_s=1, codec="mpeg4", container="avi", tone_hz=440, sound_codec="libmp3lame"),
    "mjpeg": Video(duration_s=1, codec="mjpeg", container="matroska", pix_fmt="yuvj420p"),
    "gif": Video(duration_s=1, codec="gif", container="gif", pix_fmt="rgb8"),
}


@pytest.mark.parametrize("name", VIDEOS)
def test_every_codec_decodes_inside(name: str, pool: DecodePool) -> None:
    result = decode(pool, VIDEOS[name].make())
    assert result.clips.any()
    assert len(result.starts_s) >= 2
    assert (result.log_mel is not None) == (VIDEOS[name].tone_hz is not None)


IMPORTED = """
import sys
from pathlib import Path
from models.spec import AudioInput, VideoInput
from worker.media import decoder_process
from worker.media.decode import decode_file
from worker.media.sampling import Uniform
from worker.media.types import DecodeRequest
decoder_process.import_everything()
before = set(sys.modules)
video = VideoInput(frames=4, frame_rate_hz=8, height=32, width=32)
request = DecodeRequest(Uniform(4), video, AudioInput(frames=9))
for path in sys.argv[1:]:
    decode_file(Path(path), request)
print(*sorted(set(sys.modules) - before))
"""


def test_decoding_imports_nothing(tmp_path: Path) -> None:
    """What is imported at the first use cannot be: there are no files any more."""
    files = [video.write(tmp_path / name) for name, video in VIDEOS.items()]
    command = [sys.executable, "-c", IMPORTED, *map(str, files)]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout.split() == []


def test_a_picture_decodes_inside(pool: DecodePool) -> None:
    assert decode(pool, still(64, 48, shade=200)).clips.any()


def test_what_is_missing_is_said_once_or_stops_the_worker(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sandbox, "missing", lambda: {"landlock": "Function not implemented"})
    with pytest.raises(SettingsError, match=r"no landlock \(Function not implemented\)"):
        start(sandbox="require")
    with start(sandbox="auto") as pool:
        assert decode(pool, GOOD).clips.any()
        assert tried(pool, "open('/etc/passwd')") == "EPERM"  # by the layer that is left
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    caplog.clear()
    with start(sandbox="off"):
        assert not caplog.records


def test_asking_changes_nothing() -> None:
    sandbox.missing()
    with open("/etc/passwd") as file:
        assert file.readline()


def test_it_costs_little(pool: DecodePool, unconfined: DecodePool) -> None:
    """Starting a decoder process takes less than 10 ms more."""

    def start_s(pool: DecodePool) -> float:
        begun_s = time.perf_counter()
        for _ in range(10):
            decoder = pool._server.fork()
            decoder.kill()
            pool._server.exit_status(decoder)
            decoder.close()
        return (time.perf_counter() - begun_s) / 10

    rounds = [(start_s(unconfined), start_s(pool)) for _ in range(3)]
    assert min(confined_s for _, confined_s in rounds) < min(plain_s for plain_s, _ in rounds) + 0.01
