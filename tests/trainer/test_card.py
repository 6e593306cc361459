"""The card: what stands in it beside the model's own figures."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tests.cascade.examples import spec
from tests.trainer.evaluation.examples import LABEL, held_out
from trainer.card import card
from trainer.config import TrainConfig
from trainer.evaluation.beside import beside
from trainer.evaluation.judge import evaluate


def config(baselines: Sequence[dict[str, object]] = (), **changes: object) -> TrainConfig:
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
            **changes,
        }
    )


def card_of(baselines: Sequence[dict[str, object]] = (), **changes: object) -> str:
    given, scores = config(baselines, **changes), held_out(2.0)
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
    replace(held_out(8.0), labels=("gun",)).write(tmp_path / "other.json")
    text = card_of([{"name": "other", "held_out": str(tmp_path / "other.json")}])
    assert "Not compared with other: there are no scores of 'violence', only of 'gun'" in text


def test_shares_beside_the_band_are_measured_and_not_those_that_were_asked_for() -> None:
    """With scores this clear, both edges stay at the threshold, and nobody lies on the wrong side."""
    given, scores = config(), held_out(0.1)
    assert (given.calibrate.missed, given.calibrate.false_alarms) == (0.05, 0.05)
    text = card(given, spec("filter", (LABEL,)), evaluate(given, scores), ())
    assert "band [0.500, 0.500) on calibrated" in text
    assert "0% of positive videos lie below the band and 0% of negative ones above it. 0% of the" in text
    assert "\n60 videos of 15 sources: figures on other footage will differ" in text


def test_every_set_and_every_step_is_named() -> None:
    text = card_of(
        data={
            "manifest": "m.csv",
            "note": "our clips",
            "also": [{"manifest": "sport.csv", "weight": 0.3}, {"manifest": "hugs.csv", "note": "hugs"}],
        },
        fit={"epochs": 5},
        distil={"teachers": ["configs/large.yaml"], "soft": 0.7},
        prune={"share": 0.4, "epochs": 6},
        quantise={"aware_epochs": 3},
    )
    assert "Trained on: our clips; beside it sport.csv (weight 0.3); hugs (weight 1). It learnt" in text
    assert "other networks (large), trained on the same videos, say of each video: that weighs 70%" in text
    assert "Gradient descent for 5 epochs. Then about 40% of the channels" in text
    assert "for 6 epochs. Then 3 epochs with INT8's rounding simulated." in text


def test_what_rests_is_said_where_nothing_else_learns() -> None:
    text = card_of(init="efficientnet-lite0", fit={"epochs": 0, "probe_views": 2})
    assert "The last layer is a logistic regression on 2 random clips" in text
    assert "Nothing else learns" in text
    assert "temporal convolutions" not in text
    assert "Nothing else learns" not in card_of(
        fit={"epochs": 0, "probe_views": 2}, prune={"share": 0.4, "epochs": 6}
    )
