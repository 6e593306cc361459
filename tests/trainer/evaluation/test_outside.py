"""What is served, on videos from outside: a tiny real network that answers how bright a video is."""

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from models.spec import Label
from tests.inference import tiny
from tests.synthesis import Video
from trainer.evaluation.cli import evaluate
from trainer.evaluation.speeds import Speed

SHADES = {"dark": (10, 30, 40, 235), "bright": (200, 220, 240, 245)}  # 235: dark by name, a false alarm


def labels() -> tuple[Label, ...]:
    """The probability is one half at a grey of one half."""
    return tuple(
        Label(name=name, threshold=0.5, band=(0.3, 0.7), training_prevalence=0.5, temperature=0.1, bias=bias)
        for name, bias in (("bright", -5.0), ("dark", 5.0))
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    rows = ["path,label,group"]
    for label, shades in SHADES.items():
        for shade in shades:
            name = f"{label}-{shade}.mp4"
            Video(
                duration_s=1.0,
                size=(32, 32),
                fps=8,
                picture=lambda _, width, height, shade=shade: np.full((height, width, 3), shade, np.uint8),
            ).write(folder / name)
            rows.append(f"{name},{label},{name}")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")
    return folder


def artifact(folder: Path, role: str, ms: float) -> Path:
    written = tiny.write(folder, role=role, labels=labels())
    speed = Speed("fp32", "cpu", 2, median_ms_per_clip=ms, least_ms_per_clip=ms)
    (written / "metrics.json").write_text(json.dumps({"speed": [asdict(speed)]}))
    return written


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(evaluate, [str(each) for each in arguments])
    return result.exit_code, result.output


def test_two_models_on_videos_from_outside(tmp_path: Path, data: Path) -> None:
    light, heavy = artifact(tmp_path, "filter", 1.0), artifact(tmp_path, "escalation", 4.0)
    out = tmp_path / "report"
    code, said = run(
        "--filter", light, "--escalation", heavy, "--data", data, "--manifest", "manifest.csv",
        "--positives", "bright", "--out", out,
    )  # fmt: skip
    assert code == 0, said
    found = json.loads((out / "report.json").read_text())
    cascade = found["rows"][1]
    assert (found["videos"], found["positives"], cascade["name"]) == (8, 4, "cascade")
    assert cascade["accuracy"] == 7 / 8
    assert cascade["auc"] == pytest.approx(14 / 16)
    assert cascade["cost"] == pytest.approx(0.25)  # no video is in the band
    assert [file.name for file in out.glob("mistake-*.png")] == ["mistake-01.png"]
    assert "false alarm, probability 0.9" in (out / "report.html").read_text()


def test_one_class_is_refused(tmp_path: Path, data: Path) -> None:
    light = artifact(tmp_path, "filter", 1.0)
    code, said = run(
        "--filter", light, "--data", data, "--manifest", "manifest.csv", "--positives", "fight",
        "--out", tmp_path / "report",
    )  # fmt: skip
    assert (code, "0 of 8 videos are labelled fight" in said) == (1, True)


def test_options_of_a_set_belong_together(tmp_path: Path, data: Path) -> None:
    light = artifact(tmp_path, "filter", 1.0)
    assert run("--filter", light, "--data", data, "--out", tmp_path / "report")[0] == 2


def test_a_report_of_held_out_scores_needs_no_torch() -> None:
    code = "import sys; sys.modules['torch'] = None; import trainer.evaluation.cli, trainer.report.page"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
