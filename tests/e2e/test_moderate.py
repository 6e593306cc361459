"""`sluice moderate` over whatever people upload."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests import parts
from worker.errors import MediaError
from worker.messages import Verdict

MEDIA_REASONS = {error.reason for error in MediaError.__subclasses__()}


def moderate(*files: Path) -> tuple[dict[str, Verdict], str]:
    """File -> verdict, and standard error."""
    done = subprocess.run(
        [sys.executable, "-m", "worker.cli", "moderate", *map(str, files)],
        env={**os.environ, "SLUICE_DECODE__JOB_TIMEOUT_S": "15"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return {line.pop("file"): Verdict.model_validate(line) for line in lines}, done.stderr


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_odd_file_ends_in_a_verdict() -> None:
    root = parts.media_dir()
    files = sorted(path for path in root.rglob("*") if path.is_file() and path.suffix not in (".csv", ".md"))
    answers, _ = moderate(*files)
    assert set(answers) == set(map(str, files))
    for file, verdict in answers.items():
        if verdict.decided_by == "error":
            assert verdict.decision == "review", file
            assert verdict.reason in MEDIA_REASONS, (file, verdict.reason, verdict.detail)
            assert verdict.detail, file
        else:
            assert verdict.coverage is not None, file
            assert verdict.coverage.clips > 0, file
    outcomes = Counter(verdict.reason or verdict.decided_by for verdict in answers.values())
    assert outcomes["filter"] + outcomes["escalation"] + outcomes["cache"] > len(files) // 3, outcomes


def test_a_file_that_is_not_media_is_reviewed(tmp_path: Path) -> None:
    file = tmp_path / "not a video.mp4"
    file.write_text("hello")
    answers, _ = moderate(file)
    verdict = answers[str(file)]
    assert (verdict.decision, verdict.decided_by, verdict.reason) == ("review", "error", "undecodable")
