"""``sluice evaluate`` on artifacts made up: what it writes, and what it refuses."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from models.spec import read_spec, write_spec
from tests.cascade.examples import spec
from tests.trainer.evaluation.examples import LABEL, held_out
from trainer.evaluation.cli import evaluate
from trainer.evaluation.speeds import Speed
from trainer.evaluation.summary import NOT_ESTABLISHED


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
    speed = Speed("int8", "cpu", 2, median_ms_per_clip=ms, least_ms_per_clip=ms)
    metrics = {"config": config, "labels": [{"name": LABEL, "band": [0.3, 0.8]}], "speed": [asdict(speed)]}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "README.md").write_text("as it was\n")
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
    assert f"\n\nThreshold 0.50 and uncertainty band [{band[0]:.3f}, {band[1]:.3f}) on calibrated" in told
    assert "as it was" not in told
    assert found["cascade"]["verdict"] in told
    assert (heavy / "README.md").read_text() == "as it was\n"


def test_cards_are_computed_anew(tmp_path: Path) -> None:
    light = artifact(tmp_path / "light", "filter", 3.0, 1, 2.0)
    further = replace(held_out(3.0, 5, videos=4), folds=("0", "1", "1", "1"), sets=("m.csv",) * 4)
    replace(further, groups=("two", "two", "a", "b")).write(light / "elsewhere.json")
    before = read_spec(light)
    code, said = run("--filter", light, "--out", tmp_path / "report", "--write-cards")
    assert code == 0, said
    told, metrics = (light / "README.md").read_text(), json.loads((light / "metrics.json").read_text())
    assert read_spec(light) == before
    (label,) = metrics["labels"]
    assert (label["band"], label["calibration"]) == ([0.3, 0.8], {"temperature": 1.0, "bias": 0.0})
    assert label["figures"]["videos"] == 60
    assert metrics["elsewhere"][0]["left_out"] == 2
    assert "Of m.csv, 2 more videos do not count for violence" in told
    assert "band [0.300, 0.800) on calibrated" in told
    assert f"{label['figures']['band_missed']:.0%} of positive videos lie below the band" in told
    assert "| int8 | cpu | 2 | 2.0 | 2.0 |" in told


def test_a_cascade_that_gains_nothing_is_called_that(tmp_path: Path) -> None:
    light = artifact(tmp_path / "light", "filter", 3.0, 1, 2.0)
    heavy = artifact(tmp_path / "heavy", "escalation", 3.0, 2, 10.0)
    code, said = run("--filter", light, "--escalation", heavy, "--out", tmp_path / "report")
    assert (code, said.startswith(NOT_ESTABLISHED)) == (0, True)
    assert NOT_ESTABLISHED in (tmp_path / "report" / "report.html").read_text()


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
