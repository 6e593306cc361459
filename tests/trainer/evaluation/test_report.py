"""``sluice evaluate`` on artifacts made up: what it writes, and what it refuses."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from models.spec import read_spec, write_spec
from tests.cascade.examples import spec
from tests.trainer.evaluation.examples import LABEL, held_out
from trainer.evaluation.cli import evaluate
from trainer.evaluation.summary import NOT_JUSTIFIED


def artifact(folder: Path, role: str, noise: float, seed: int, ms: float) -> Path:
    folder.mkdir()
    write_spec(folder, spec(role, (LABEL,)))
    config = {
        "name": f"test-{role}",
        "version": "1",
        "role": role,
        "data": {"manifest": "m.csv"},
        "labels": [{"name": LABEL, "positives": ["yes"]}],
        "video": {"frames": 8, "frame_rate_hz": 4, "height": 16, "width": 16},
        "architecture": {"name": "r2plus1d"},
    }
    speed = {"variant": "int8", "provider": "cpu", "threads": 2, "median_ms_per_clip": ms}
    metrics = {"config": config, "labels": [{"name": LABEL, "band": [0.3, 0.8]}], "speed": [speed]}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    card = "# Model\n\nThreshold 0.50 and uncertainty band [0.300, 0.800):\nas it was.\n\n## Speed\n"
    (folder / "README.md").write_text(card)
    held_out(noise, seed).write(folder / "held_out.json")
    return folder


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(evaluate, [str(each) for each in arguments])
    return result.exit_code, result.output


def test_two_models_and_a_baseline(tmp_path: Path) -> None:
    light = artifact(tmp_path / "light", "filter", 6.0, 1, 2.0)
    heavy = artifact(tmp_path / "heavy", "escalation", 1.0, 2, 10.0)
    held_out(6.0, 3).write(tmp_path / "frozen-features.json")
    held_out(9.0, 4).write(tmp_path / "metadata.json")
    out = tmp_path / "report"
    code, said = run(
        "--filter", light, "--escalation", heavy, "--baseline", tmp_path / "metadata.json",
        "--baseline", tmp_path / "frozen-features.json",
        "--out", out, "--write-bands",
    )  # fmt: skip
    assert code == 0, said
    assert "beats the filter" in said
    found = json.loads((out / "report.json").read_text())
    assert [row["name"] for row in found["rows"]] == [
        "metadata",
        "frozen features",
        "filter alone",
        "cascade",
        "escalation on every clip",
    ]
    assert found["rows"][2]["cost"] == pytest.approx(0.2)
    page = (out / "report.html").read_text()
    assert page.count("<img alt=") == len([*out.glob("*.png")]) == 7
    assert 'src="http' not in page
    band = read_spec(light).labels[0].band
    assert list(band) == found["cascade"]["choice"]["band"]
    assert json.loads((light / "metrics.json").read_text())["labels"][0]["band"] == list(band)
    told = (light / "README.md").read_text()
    assert f"\n\nUncertainty band [{band[0]:.3f}, {band[1]:.3f}) on calibrated probability" in told
    assert told.startswith("# Model\n\n")
    assert told.endswith("of the cost.\n\n## Speed\n")
    assert "as it was" not in told


def test_a_cascade_that_gains_nothing_is_called_that(tmp_path: Path) -> None:
    light = artifact(tmp_path / "light", "filter", 3.0, 1, 2.0)
    heavy = artifact(tmp_path / "heavy", "escalation", 3.0, 2, 10.0)
    code, said = run("--filter", light, "--escalation", heavy, "--out", tmp_path / "report")
    assert (code, said.startswith(NOT_JUSTIFIED)) == (0, True)
    assert NOT_JUSTIFIED in (tmp_path / "report" / "report.html").read_text()


def test_one_model_alone(tmp_path: Path) -> None:
    light = artifact(tmp_path / "light", "filter", 3.0, 1, 2.0)
    code, said = run("--filter", light, "--out", tmp_path / "report")
    assert code == 0, said
    assert not (tmp_path / "report" / "cost-recall.png").exists()


def test_an_artifact_without_scores_is_refused(tmp_path: Path) -> None:
    light = artifact(tmp_path / "light", "filter", 3.0, 1, 2.0)
    (light / "held_out.json").unlink()
    code, said = run("--filter", light, "--out", tmp_path / "report")
    assert code == 1
    assert "held-out scores once `sluice train` has written it" in said


def test_bands_need_two_models(tmp_path: Path) -> None:
    light = artifact(tmp_path / "light", "filter", 3.0, 1, 2.0)
    assert run("--filter", light, "--out", tmp_path, "--write-bands")[0] == 2
