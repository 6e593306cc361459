"""What the benchmark of the service counts with, and that the page shows what it found."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from benchmarks.service.constants import constants_of
from benchmarks.service.load import in_turn, percentiles, rate_per_s
from benchmarks.service.page import PAGE, page
from benchmarks.service.stage import Answered
from benchmarks.service.uploads import Uploads
from benchmarks.service.usage import usage_of
from models.spec import VideoInput
from tests.samples import VERSIONS, an_event
from tests.synthesis import Video
from worker.capacity import Constants
from worker.media.decode import decode_file
from worker.media.sampling import Uniform
from worker.media.types import DecodeRequest
from worker.messages import Verdict

BEGUN = datetime(2026, 1, 1, tzinfo=UTC)
SPINS = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if len(sys.argv) > 1 else None
print("ready", flush=True)
while child is None: pass
time.sleep(60)
"""


def answered(decided_s: float, created_s: float = 0.0, **timings_ms: float) -> Answered:
    """Read from its topic 10 ms after it was decided."""
    decided_at = BEGUN + timedelta(seconds=decided_s)
    event = an_event(created_at=BEGUN + timedelta(seconds=created_s))
    verdict = Verdict(
        verdict_id="00000000-0000-0000-0000-000000000000",
        upload_id=event.upload_id,
        decision="allow",
        decided_by="filter",
        reason="",
        versions=VERSIONS,
        timings_ms=timings_ms,
        decided_at=decided_at,
        created_at=event.created_at,
    )
    return Answered(verdict, decided_at + timedelta(milliseconds=10))


def test_uploads_are_new_each_time_and_show_the_same_pictures(tmp_path: Path) -> None:
    original = Video(duration_s=0.5).write(tmp_path / "video.mp4")
    before = original.read_bytes()
    uploads = Uploads(tmp_path / "uploads")
    uploads.folder.mkdir()
    digests = set()
    for _ in range(2):
        files = uploads.fresh(original, 2)
        digests |= {hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    assert len(digests) == 4
    assert original.read_bytes() == before
    request = DecodeRequest(Uniform(1), VideoInput(frames=4, frame_rate_hz=10, height=16, width=16))
    assert (decode_file(files[0], request).clips == decode_file(original, request).clips).all()
    uploads.clear()
    assert not list(uploads.folder.iterdir())


@pytest.fixture(params=["itself", "its child"])
def spinning(request: pytest.FixtureRequest) -> Iterator[tuple[str, int]]:
    """A process that computes, or has a child that does."""
    child = ["child"] if request.param == "its child" else []
    process = subprocess.Popen(
        [sys.executable, "-c", SPINS, *child], stdout=subprocess.PIPE, start_new_session=True
    )
    assert process.stdout is not None
    process.stdout.readline()
    try:
        yield request.param, process.pid
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()


def test_cpu_time_is_told_apart_by_who_used_it(spinning: tuple[str, int]) -> None:
    who, pid = spinning
    before = usage_of([pid])
    give_up_s = time.monotonic() + 10
    while (used := usage_of([pid]) - before).cpu_s < 0.2 and time.monotonic() < give_up_s:
        time.sleep(0.02)
    mine, other = used.main_cpu_s, used.decoder_cpu_s
    assert (mine > 0.15 > 0.05 > other) if who == "itself" else (other > 0.15 > 0.05 > mine)
    assert 1e6 < used.memory_bytes < 1e9


def test_the_rate_leaves_out_both_ends_of_a_run() -> None:
    slow_start = [answered(0.0), answered(5.0)]
    steady = [answered(10 + number / 4) for number in range(16)]
    slow_end = [answered(20.0), answered(30.0)]
    assert rate_per_s([*slow_end, *steady, *slow_start]) == pytest.approx(15 / 3.75)


def test_stages_add_up_to_the_time_from_publishing_to_reading() -> None:
    stages_ms = answered(decided_s=1.5, created_s=1.0, decode=200.0, filter=50.0, total=300.0).stages_ms
    assert stages_ms == pytest.approx(
        {
            "queue": 200.0,
            "decode": 200.0,
            "filter": 50.0,
            "service": 300.0,
            "reply": 10.0,
            "end to end": 510.0,
        }
    )


def test_percentiles_are_of_the_uploads_that_went_through_a_stage() -> None:
    answers = [answered(1.0, total=10.0), answered(1.0, escalation=7.0, total=20.0)]
    found = percentiles(answers)
    assert found["escalation"] == {"p50": 7.0, "p95": 7.0, "p99": 7.0}
    assert found["service"]["p50"] == 15.0


@pytest.mark.parametrize(
    ("share", "chosen"),
    [(0.0, []), (0.1, [9]), (0.3, [3, 6, 9]), (1.0, list(range(10)))],
)
def test_the_escalated_lie_evenly_between_the_others(share: float, chosen: list[int]) -> None:
    assert [place for place in range(10) if in_turn(place, share)] == chosen


def test_constants_are_differences_and_parts_of_the_results() -> None:
    def row(**figures: float) -> dict[str, float]:
        base = {"cpu_s_per_upload": 1.0, "decoder_cpu_s_per_upload": 0.4, "clips_per_upload": 7.0}
        return base | {"clips_escalated_per_upload": 0.0, "cores_used": 1.8, "memory_mb": 700} | figures

    costly = row(cpu_s_per_upload=4.0, decoder_cpu_s_per_upload=0.9, clips_escalated_per_upload=7.0)
    found = {
        "saturated": {"filtered": row(), "escalated": costly, "mixed": row()},
        "by_duration": [row(duration_s=1, height=360), row(duration_s=10, height=360)],
        "by_height": [row(height=360), row(height=720)],
        "inference": {"filter": {"cpu_s_per_clip": 0.02}},
        "cached": [{"way": "fetched and digested", "cpu_s_per_upload": 0.002}],
    }
    constants = Constants.model_validate(constants_of(found, worker_cores=2))
    assert constants.escalation.model_dump() == {"clips": 7.0, "decoder_cpu_s": 0.5, "model_cpu_s": 2.5}
    assert constants.by_duration[1].main_cpu_s == 0.6
    assert constants.cached_cpu_s == 0.002


def test_the_page_shows_the_committed_results() -> None:
    assert PAGE.read_text() == page(), "run `python -m benchmarks.service.page`"
    assert "-->\n<!-- end" not in PAGE.read_text()  # no table is empty
