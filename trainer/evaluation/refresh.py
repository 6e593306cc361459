"""What an artifact says of itself, computed anew from its scores; the weights stay as they are."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from models.spec import write_spec
from trainer.card import card
from trainer.evaluation.bands import Choice
from trainer.evaluation.beside import beside
from trainer.evaluation.elsewhere import ELSEWHERE_FILE, elsewhere
from trainer.evaluation.held_out import CARD_FILE, METRICS_FILE, read_held_out
from trainer.evaluation.judge import evaluate
from trainer.evaluation.summary import Artifact, Summary, read_artifact


def put_band(folder: Path, light: Artifact, summary: Summary) -> None:
    """The band chosen for the cascade into ``spec.json`` and ``metrics.json``."""
    together = summary.together
    assert together is not None
    labels = [
        label.model_copy(update={"band": together.choice.band}) if label.name == summary.label else label
        for label in light.spec.labels
    ]
    write_spec(folder, light.spec.model_copy(update={"labels": tuple(labels)}))
    file = folder / METRICS_FILE
    metrics = json.loads(file.read_text())
    reached = {name: value for name, value in asdict(together.choice).items() if name != "band"}
    _write(file, metrics | {"cascade": reached | {"verdict": together.verdict}})


def refresh(folder: Path) -> None:
    """The figures in ``metrics.json``, and the card. Raises HeldOutError naming what is missing."""
    artifact = read_artifact(folder)
    config = artifact.config
    metrics = json.loads((folder / METRICS_FILE).read_text())
    evaluation = evaluate(config, artifact.held_out, artifact.spec)
    further = folder / ELSEWHERE_FILE
    others = elsewhere(read_held_out(further), evaluation, config.aggregation) if further.exists() else ()
    simple = beside(config, artifact.held_out)
    metrics |= {
        "labels": [asdict(each) for each in evaluation.labels],
        "elsewhere": [asdict(each) for each in others],
        "baselines": [asdict(each) for each in simple],
    }
    _write(folder / METRICS_FILE, metrics)
    told = card(config, artifact.spec, evaluation, artifact.speed, others, simple, *_cascade(metrics))
    (folder / CARD_FILE).write_text(told)


def _cascade(metrics: dict[str, Any]) -> tuple[Choice | None, str]:
    """The choice that was made for the first label, and the verdict on it."""
    if (found := metrics.get("cascade")) is None:
        return None, ""
    low, high = metrics["labels"][0]["band"]
    return Choice((low, high), found["recall_lost"], found["cost"], found["met"]), found["verdict"]


def _write(file: Path, metrics: dict[str, Any]) -> None:
    file.write_text(json.dumps(metrics, indent=2) + "\n")
