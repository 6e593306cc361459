"""The card: what stands in it beside the model's own figures."""

from pathlib import Path

from tests.cascade.examples import spec
from tests.trainer.evaluation.examples import LABEL, held_out
from trainer.card import card
from trainer.config import TrainConfig
from trainer.evaluation.beside import beside
from trainer.evaluation.judge import evaluate


def config(baselines: list[dict[str, object]]) -> TrainConfig:
    return TrainConfig.model_validate(
        {
            "name": "test-filter",
            "version": "1",
            "role": "filter",
            "data": {"manifest": "m.csv"},
            "labels": [{"name": LABEL, "positives": ["yes"]}],
            "video": {"frames": 8, "frame_rate_hz": 4, "height": 16, "width": 16},
            "architecture": {"name": "r2plus1d"},
            "baselines": baselines,
        }
    )


def card_of(baselines: list[dict[str, object]]) -> str:
    given, scores = config(baselines), held_out(2.0)
    found = beside(given, scores)
    return card(given, spec("filter", (LABEL,)), evaluate(given, scores), (), (), found)


def test_a_baseline_with_scores_is_compared(tmp_path: Path) -> None:
    held_out(8.0, 1).write(tmp_path / "plain.json")
    found = beside(config([{"name": "plain", "held_out": str(tmp_path / "plain.json")}]), held_out(2.0))[0]
    assert found.auc is not None
    assert found.auc_gained is not None
    assert found.auc_gained.is_positive
    text = card_of([{"name": "plain", "held_out": str(tmp_path / "plain.json")}])
    assert f"| plain | {found.accuracy:.0%} | {found.auc:.2f} |" in text
    assert "Less plain, on the same drawn sources: accuracy +" in text


def test_a_baseline_of_which_only_figures_are_known() -> None:
    text = card_of([{"name": "published", "accuracy": 0.72}])
    assert "| published | 72% |  |" in text
    assert "Less published" not in text


def test_scores_that_cannot_be_used_are_told_and_stop_nothing(tmp_path: Path) -> None:
    text = card_of([{"name": "absent", "held_out": str(tmp_path / "absent.json")}])
    assert f"Not compared with absent: there is no {tmp_path / 'absent.json'}" in text
    held_out(8.0, videos=40).write(tmp_path / "fewer.json")
    text = card_of([{"name": "fewer", "held_out": str(tmp_path / "fewer.json")}])
    assert "scored by one of the two models only" in text
