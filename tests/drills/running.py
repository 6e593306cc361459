"""Runs one drill and says what came of it."""

from __future__ import annotations

import random
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from tests.drills import brokers, network
from tests.drills.brokers import Kind
from tests.drills.catalogue import Drill
from tests.drills.media import Media
from tests.drills.network import NEAR
from tests.drills.stage import Findings, Size, Stage
from worker.errors import SluiceError
from worker.standalone import HOST

Outcome = dict[str, Any]
Tell = Callable[[str], object]


@contextmanager
def opened(kind: Kind, size: Size, seed: int, tell: Tell) -> Iterator[Stage]:
    """A stage with its broker, which several drills use in turn."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sluice-drills-"))).resolve()
        line = None
        if kind != "embedded" and not network.why_not():
            line = stack.enter_context(network.connected())
        broker = stack.enter_context(brokers.started(kind, folder, NEAR if line else HOST))
        media = Media(folder / "uploads")
        yield Stage(broker, folder, media, size, random.Random(seed), line, tell)


def outcome(drill: Drill, stage: Stage, seed: int) -> Outcome:
    """``failures`` is empty when nothing happened that must not. Does not raise for what a drill found."""
    begun_s = time.monotonic()
    stage.random.seed(f"{seed}/{drill.name}")
    head = {
        "drill": drill.name,
        "fault": drill.fault,
        "broker": stage.broker.name,
        "size": stage.size.value,
        "seed": seed,
    }
    try:
        with _own_folder(stage) as own:
            findings = drill.run(own)
    except (AssertionError, SluiceError, subprocess.SubprocessError) as error:
        return head | {"failures": [f"did not end: {error}"], "took_s": _rounded(time.monotonic() - begun_s)}
    return head | _told(findings) | {"took_s": _rounded(time.monotonic() - begun_s)}


def spoken(found: Outcome) -> str:
    """What came of it, in a line or a few."""
    if "ledger" not in found:
        return f"  FAILED: {found['failures'][0]}"
    ledger = found["ledger"]
    lines = [
        f"  injected: {found['injected']}",
        f"  in: {ledger['uploads_in']} uploads, {ledger['unreadable_in']} unreadable; answered: "
        f"{ledger['uploads_answered']}, dead letters: {ledger['unreadable_lettered']}; "
        f"repeats: {ledger['repeats']}, unneeded reviews: {sum(ledger['unneeded_reviews'].values())}",
        f"  longest gap {found['longest_gap_s']} s, recovered in at most {found['recovered_s']} s, "
        f"workers that ended by themselves: {found['restarts']}; took {found['took_s']} s",
        *(f"  {name}: {value}" for name, value in found["figures"].items()),
        *(
            f"  {target['name']}: {target['value']}, at most {target['at_most']}"
            f"{'' if target['is_met'] else ' MISSED'}"
            for target in found["targets"]
        ),
        *(f"  FAILED: {failure}" for failure in found["failures"]),
    ]
    return "\n".join(lines)


@contextmanager
def _own_folder(stage: Stage) -> Iterator[Stage]:
    """Logs and files of one drill, gone after it; the broker's stay."""
    folder = Path(tempfile.mkdtemp(dir=stage.folder))
    try:
        yield replace(stage, folder=folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _told(findings: Findings) -> Outcome:
    return {
        "injected": findings.injected,
        "count": findings.count,
        "ledger": findings.ledger.summary(),
        "longest_gap_s": _rounded(findings.longest_gap_s),
        "recovered_s": _rounded(max(findings.recovered_s, default=0.0)),
        "all_recovered_s": [_rounded(seconds) for seconds in findings.recovered_s],
        "restarts": findings.restarts,
        "figures": {name: _rounded(value) for name, value in findings.figures.items()},
        "targets": [
            {**asdict(target), "value": _rounded(target.value), "is_met": target.is_met}
            for target in findings.targets
        ],
        "failures": findings.failures(),
    }


def _rounded(value: float) -> float:
    return round(value, 2)
