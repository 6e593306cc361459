"""How long good uploads take while bad ones pour in.

    python -m tests.hostile.crowd [--seconds 60]

Good uploads come at an even pace, and their times count from when they came; beside them, as many threads
as there are decoder processes send bad ones without a pause. Writes benchmarks/results/hostile_crowd.json
and the table of docs/hostile-input.md.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import click
import numpy as np

from benchmarks import report
from tests.hostile import page
from tests.hostile.run import mutations
from tests.hostile.seeds import made
from tests.media.bombs import png_that_says_it_is_small, vp8_of_16k
from tests.media.hostile_files import Track, deflated, gif_header, mp4, nested_boxes
from tests.routes import moderator
from tests.samples import an_event
from tests.synthesis import Video, free_box
from worker.clock import Deadline, SystemClock
from worker.events import Upload
from worker.media.pool import DecodePool
from worker.messages import Verdict
from worker.moderation import Moderator
from worker.settings import DecodeSettings, WorkerSettings
from worker.telemetry.logs import configure_logging

CLOCK = SystemClock()
PROCESSES = 2
GOOD_PER_S = 5.0
UPLOAD_S = 120.0
BEGIN_S = 3.0  # at most, until every decoder process has a bad upload
_MiB = 1024 * 1024


@dataclass(frozen=True)
class Served:
    """What the good uploads of one scene got."""

    seconds: Sequence[float]  # of each good upload
    judged: int  # good ones that were decoded and judged
    bad: int  # answered meanwhile
    lasted_s: float

    def to_json(self) -> dict[str, Any]:
        p50, p99 = np.percentile(self.seconds, (50, 99))
        return {
            "good": len(self.seconds),
            "judged": self.judged,
            "p50_ms": round(float(p50) * 1000),
            "p99_ms": round(float(p99) * 1000),
            "bad_per_s": round(self.bad / self.lasted_s, 1),
        }


@dataclass(frozen=True)
class Scene:
    """What pours in beside the good ones."""

    bad: Sequence[bytes]
    decode: DecodeSettings = field(default_factory=lambda: DecodeSettings(processes=PROCESSES))
    share: float = 1.0  # of the time in which good ones come


def scenes() -> dict[str, Scene]:
    limits = [
        gif_header(65535, 65535),
        vp8_of_16k(),
        png_that_says_it_is_small(9000, 9000),
        mp4(*[Track()] * 200),
        nested_boxes(10_000),
    ]
    slow = [deflated(1000, 9 * _MiB)]
    never_s = DecodeSettings().job_timeout_s
    return {
        "nothing": Scene([]),
        "mutations": Scene([file.data for file in mutations(made(), 1, range(200))]),
        "files over a limit": Scene(limits),
        "files that use up their time": Scene(slow),
        f"the same, `decode.long_after_s` = {never_s:g}": Scene(
            slow, DecodeSettings(processes=PROCESSES, long_after_s=never_s), share=0.1
        ),
    }


def serve(scene: Scene, seconds: float) -> Served:
    video = Video(duration_s=2.0).make()
    stop = threading.Event()
    with (
        DecodePool(scene.decode, CLOCK) as pool,
        moderator(pool) as route,
        ThreadPoolExecutor(PROCESSES) as bad_threads,
        ThreadPoolExecutor(WorkerSettings().concurrency) as good_threads,
    ):
        pourers = PROCESSES if scene.bad else 0
        pouring = [bad_threads.submit(_pour, route, scene.bad, place, stop) for place in range(pourers)]
        give_up_s = time.monotonic() + BEGIN_S
        while pourers and pool._idle.qsize() and time.monotonic() < give_up_s:
            time.sleep(0.001)
        begun_s = time.monotonic()
        coming = []
        for number in range(round(seconds * scene.share * GOOD_PER_S)):
            at_s = begun_s + number / GOOD_PER_S
            time.sleep(max(0.0, at_s - time.monotonic()))
            coming.append(good_threads.submit(_timed, route, video + free_box(number), at_s))
        answers = [future.result() for future in coming]
        lasted_s = time.monotonic() - begun_s
        stop.set()
        poured = sum(future.result() for future in pouring)
    judged = sum(verdict.decided_by != "error" for _, verdict in answers)
    return Served([seconds for seconds, _ in answers], judged, poured, lasted_s)


def _pour(route: Moderator, bad: Sequence[bytes], place: int, stop: threading.Event) -> int:
    numbers: Iterator[int] = itertools.count(place, PROCESSES)
    for poured, number in enumerate(numbers):
        if stop.is_set():
            return poured
        # No two with the same digest: one would wait for the other.
        _timed(route, bad[number % len(bad)] + number.to_bytes(8, "big"), time.monotonic())
    raise AssertionError("numbers do not end")


def _timed(route: Moderator, data: bytes, since_s: float) -> tuple[float, Verdict]:
    upload = Upload(an_event(uri="inline:", policy="settled"), data)
    verdict = route.moderate(upload, Deadline.after(CLOCK, UPLOAD_S))
    return time.monotonic() - since_s, verdict


@click.command()
@click.option("--seconds", default=60.0, show_default=True, help="in which good uploads come, for each scene")
def main(seconds: float) -> None:
    configure_logging("error")  # not a line for each verdict
    served = {}
    for name, scene in scenes().items():
        served[name] = serve(scene, seconds).to_json()
        click.echo(f"{name}: {served[name]}")
    columns = ["beside them", "good", "judged", "p50 ms", "p99 ms", "bad per s"]
    report.show("Good uploads", columns, [[name, *row.values()] for name, row in served.items()])
    click.echo(f"wrote {report.write('hostile_crowd', {'processes': PROCESSES, 'scenes': served})}")
    page.write()


if __name__ == "__main__":
    main()
