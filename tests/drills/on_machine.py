"""The machine under a worker: its disk, its clock, the files of its models; and half an hour of nothing."""

from __future__ import annotations

import shutil
import time

import numpy as np

from tests import parts
from tests.drills.faults import damage, filled, memory_bytes, small_disk
from tests.drills.stage import Findings, Group, Stage, Target
from worker.child import STOP_TIMEOUT_S
from worker.inference.registry import find_artifact
from worker.settings import InferenceSettings

DISK_BYTES = 8_000_000
GROWTH_MB_PER_MIN = 1.0
SAMPLE_EVERY_S = 5.0
JUMP_S = 1800  # from an hour on (log.message.timestamp.after.max.ms), Kafka takes no verdicts from the future


def disk_full(stage: Stage) -> Findings:
    """No byte is left for temporary files: a failure of the service's own, so workers stop rather than answer
    the topic with `review`, and go on when there is room again."""
    seconds = stage.pick(3.0, 12.0)
    spool = stage.folder / "spool"
    with small_disk(spool, DISK_BYTES), stage.group(environment={"TMPDIR": f"{spool}"}) as group:
        with group.load(stage.per_s):
            with filled(spool):
                time.sleep(seconds)
            recovered_s = group.traffic.wait_until_recovered(time.monotonic())
        return group.findings(f"no room for temporary files for {seconds:.0f} s", 1, (recovered_s,))


def model_damaged(stage: Stage) -> Findings:
    """One byte of each file of weights is turned on disk. The worker that runs goes on; one that starts says
    which file is not what its specification says."""
    models = stage.folder / "models"
    artifact = find_artifact(InferenceSettings().filter)
    copy = models / artifact.spec.name / artifact.spec.version
    shutil.copytree(artifact.folder, copy)
    environment = {"SLUICE_INFERENCE__MODELS_DIR": f"{models}"}
    with stage.group(1, environment=environment) as group:
        with group.load(stage.per_s):
            files = sorted(copy.glob("*.onnx"))
            for file in files:
                damage(file)
            since_s = time.monotonic()
            late = group.workers.start(supervised=False)
            code = late.process.wait(STOP_TIMEOUT_S)
            said = late.log_tail()
            recovered_s = group.traffic.wait_until_recovered(since_s)
        if code == 0 or not any(file.name in said for file in files) or "Traceback" in said:
            group.problems.append(f"a worker with damaged weights ended with code {code}; {said}")
        return group.findings(
            f"a byte turned in {len(files)} files of weights, then a worker started (exit code {code})",
            len(files),
            (recovered_s,),
        )


def clock_jumps(stage: Stage) -> Findings:
    """The wall clock of all workers jumps ahead, and back. Durations are monotonic, so nothing but
    timestamps may notice. (The monotonic clock cannot jump.)"""
    library = parts.find_faketime()
    assert library is not None
    offset = stage.folder / "offset"
    offset.write_text("+0\n")
    environment = {
        "LD_PRELOAD": f"{library}",
        "FAKETIME_TIMESTAMP_FILE": f"{offset}",
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    recovered = []
    with stage.group(environment=environment) as group:
        with group.load(stage.per_s):
            for jump in (f"+{JUMP_S}", f"-{JUMP_S}", "+0"):
                offset.write_text(f"{jump}\n")
                recovered.append(group.traffic.wait_until_recovered(time.monotonic()))
                time.sleep(stage.pick(0.5, 3.0))
        # Sleeps of Python fail under this library once the clock has been back, so a stop in order does too.
        group.traffic.settle()
        group.workers.start_ready({"LD_PRELOAD": ""})
        for worker in group.workers.running[:-1]:
            group.workers.kill(worker)
        return group.findings(
            f"the workers' wall clock {JUMP_S // 60} minutes ahead, as much behind, and right again",
            3,
            tuple(recovered),
        )


def soak(stage: Stage) -> Findings:
    """Nothing happens, for long: the memory of a worker's own process must not grow."""
    minutes = stage.pick(0.1, 1.0, 30.0)
    with stage.group() as group:
        with group.load(stage.per_s):
            growth = _growth_mb_per_min(group, 60 * minutes)
        return group.findings(
            f"nothing, for {minutes:g} minutes at {stage.per_s:.0f} uploads a second",
            0,
            figures={"growth_mb_per_min": growth},
            targets=(Target("growth of a worker, MB/min", growth, GROWTH_MB_PER_MIN),),
        )


def _growth_mb_per_min(group: Group, seconds: float) -> float:
    """Of the worker that grows most: the slope over the second half, when caches are filled."""
    times: list[float] = []
    sizes: list[list[int]] = []
    begun_s = time.monotonic()
    while (at_s := time.monotonic() - begun_s) < seconds:
        times.append(at_s / 60)
        sizes.append([memory_bytes(worker.process.pid) for worker in group.workers.running])
        time.sleep(min(SAMPLE_EVERY_S, seconds / 8))
    half = len(times) // 2
    slopes = np.polyfit(times[half:], np.array(sizes[half:]) / 1e6, deg=1)[0]
    return float(slopes.max())
