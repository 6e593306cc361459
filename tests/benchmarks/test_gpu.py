from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks import gpu
from benchmarks.gpu_load import latencies_ms, saturated_clips_per_s
from tests.inference.tiny import AUDIO, Scripted, clips, spec, write
from worker.inference.registry import find_artifact
from worker.inference.types import Inputs

ROOT = Path(__file__).parents[2]
CPU = gpu.Way("cpu", "fp32", cuda_graphs=False)
TWO = gpu.Scale(max_batch_clips=2, checked_clips=2, seconds=0.01, matrix_side=8, copied_bytes=64)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_whole_command_at_small_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "SERVED", ("violence-filter",))  # the other one takes most of the time
    done = CliRunner().invoke(gpu.main, ["--provider", "cpu", "--smoke", "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert found["smoke"]
    assert found["peaks"]["cpu"]["operations_per_s"] > 0
    assert [row["network"] for row in found["rows"]] == ["violence-filter", "r2plus1d-small"]
    for row in found["rows"]:
        assert row["worst_difference"] <= row["tolerance"]
        assert row["engine"]["p50_ms"] <= row["engine"]["p99_ms"]
        (batch,) = row["batches"]
        assert batch["clips_per_s"] > 0


def test_a_row_with_every_batch_size(tmp_path: Path) -> None:
    write(tmp_path, role="escalation", audio=True)
    subject = gpu.subject(find_artifact("tiny-escalation", tmp_path), TWO)
    row = gpu.measure(subject, CPU, TWO, tmp_path / "engines")
    assert row["worst_difference"] == 0
    assert row["nodes"] == {"CPUExecutionProvider": row["nodes"]["CPUExecutionProvider"]}
    assert [batch["clips"] for batch in row["batches"]] == [1, 2]
    gpu.show_rows([{"network": "tiny", **asdict(CPU), **row}])


def test_wrong_scores_are_not_timed_and_fail_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path)
    artifact = find_artifact("tiny-filter", tmp_path)
    right = gpu.subject(artifact, TWO)
    wrong = gpu.Subject(artifact, right.inputs, right.scores + 0.1)
    (row,) = gpu.measure_all([wrong], ["cpu"], TWO, time.monotonic() + 60, tmp_path)
    assert row["wrong"] == "scores differ by 0.1 from cpu/fp32"
    assert "batches" not in row
    monkeypatch.setattr(gpu, "full_size", lambda root, smoke: [artifact])
    monkeypatch.setattr(gpu, "SERVED", ())
    monkeypatch.setattr(gpu, "subject", lambda artifact, scale: wrong)
    done = CliRunner().invoke(gpu.main, ["--provider", "cpu", "--smoke", "--out", str(tmp_path)])
    assert done.exit_code == 1
    assert "tiny-filter, cpu fp32: scores differ by 0.1" in done.output


def test_a_provider_that_does_not_run_is_a_row_with_the_reason(tmp_path: Path) -> None:
    write(tmp_path)
    subject = gpu.subject(find_artifact("tiny-filter", tmp_path), TWO)
    ends_s = time.monotonic() + 60
    rows = list(gpu.measure_all([subject], ["tensorrt", "cpu"], TWO, ends_s, tmp_path))
    assert "tensorrt" in rows[0]["failed"]
    assert "batches" in rows[1]
    (row,) = gpu.measure_all([subject], ["cpu"], TWO, time.monotonic() - 1, tmp_path)
    assert row["failed"] == "no time was left for it"


def test_what_matters_most_comes_first(tmp_path: Path) -> None:
    write(tmp_path)
    subject = gpu.subject(find_artifact("tiny-filter", tmp_path), TWO)
    assert [way for _, way in gpu.ways([subject], ["cuda", "tensorrt"])] == [
        gpu.Way("cuda", "fp32", cuda_graphs=True),
        gpu.Way("tensorrt", "fp32", cuda_graphs=False),
        gpu.Way("cuda", "fp32", cuda_graphs=False),
    ]
    assert [way for _, way in gpu.ways([subject], ["cpu"])] == [CPU]


def test_variants_of_the_served_filter() -> None:
    artifact = find_artifact("violence-filter")
    assert gpu.variants(artifact, "cuda") == ["fp16"]
    assert gpu.variants(artifact, "tensorrt") == ["int8-symmetric", "fp16"]


def test_clips_move_and_half_of_them_sound() -> None:
    made = gpu.made_inputs(spec("escalation", audio=True), 3)
    assert made.clips.dtype == np.uint8
    assert (made.clips[:, 0] != made.clips[:, 1]).mean() > 0.5
    assert made.log_mel is not None
    assert made.log_mel.shape == (3, AUDIO.frames, AUDIO.mels)
    assert made.has_audio is not None
    assert made.has_audio.tolist() == [0, 1, 0]


def test_load_through_an_engine() -> None:
    def slowly(inputs: Inputs) -> None:
        time.sleep(0.02)

    runners = [Scripted(spec(), slowly) for _ in range(2)]
    inputs = Inputs(clips(*range(16)))
    one = saturated_clips_per_s(runners[:1], inputs, 8, 0.4)
    two = saturated_clips_per_s(runners, inputs, 8, 0.4)
    assert 0 < one <= 8 / 0.02
    assert two > 1.2 * one  # twice, on a machine with nothing else to do
    times_ms = latencies_ms(runners, inputs, 8, 0.2 * two, 0.4)
    assert times_ms
    assert min(times_ms) >= 20


def test_no_video_decoder_and_no_torch_are_imported() -> None:
    program = (
        "import sys; sys.modules['av'] = None; import benchmarks.gpu; assert 'torch' not in sys.modules; "
        "import benchmarks.full_size"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False, timeout=110
    )
    assert done.returncode == 0, done.stderr
