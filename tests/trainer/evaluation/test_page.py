"""What is said of the artifacts that are committed is what their held-out scores give."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from trainer.calibrate import fit_calibration
from trainer.evaluation.held_out import CARD_FILE, read_held_out
from trainer.evaluation.page import MARKER, cascade_table
from trainer.evaluation.refresh import refresh
from trainer.evaluation.summary import read_artifact, summarise
from trainer.pages import filled

CHECKOUT = Path(__file__).resolve().parents[3]
BASELINES = ("frozen-differences", "metadata")
SHIPPED = ("violence-filter", "violence-escalation")


def newest(name: str) -> Path:
    return max((CHECKOUT / "models" / "artifacts" / name).iterdir())


def test_the_documentation_shows_what_ships() -> None:
    light, heavy = (read_artifact(newest(name)) for name in SHIPPED)
    results = CHECKOUT / "benchmarks" / "results" / "baselines"
    baselines = {name.replace("-", " "): read_held_out(results / f"{name}.json") for name in BASELINES}
    summary = summarise(light, heavy, baselines)
    page = (CHECKOUT / "docs" / "evaluation.md").read_text()
    said = filled(page, {MARKER: cascade_table(summary)})
    assert said == page, "run `sluice evaluate ... --page docs/evaluation.md`"
    assert summary.together is not None
    assert light.spec.labels[0].band == summary.together.choice.band, "run `sluice evaluate --write-bands`"


@pytest.mark.parametrize("name", SHIPPED)
def test_the_calibration_that_ships_is_the_one_that_figures_are_of(name: str) -> None:
    artifact = read_artifact(newest(name))
    held_out, (label,) = artifact.held_out, artifact.spec.labels
    logits = [np.asarray(clips[:, 0], np.float64) for clips in held_out.scores]
    fitted = fit_calibration(logits, held_out.targets[:, 0].tolist())
    assert (label.temperature, label.bias) == pytest.approx((fitted.temperature, fitted.bias), rel=1e-4)


@pytest.mark.parametrize("name", SHIPPED)
def test_cards_say_what_the_scores_give(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CHECKOUT)  # a configuration names its baselines from here
    for file in newest(name).iterdir():
        if file.suffix in (".json", ".md"):
            shutil.copy(file, tmp_path)
    refresh(tmp_path)
    said = (newest(name) / CARD_FILE).read_text()
    assert (tmp_path / CARD_FILE).read_text() == said, "run `sluice evaluate ... --write-cards`"
