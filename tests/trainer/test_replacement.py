"""A new artifact beside the version that it replaces."""

import json
from pathlib import Path

import pytest

from models.spec import write_spec
from tests.inference.tiny import VIDEO, spec
from trainer.artifact import check_gates
from trainer.calibrate import Calibration
from trainer.config import Gate, TrainConfig
from trainer.evaluation.judge import Evaluation, Figures, Judged
from trainer.evaluation.speeds import Speed
from trainer.export import GateClosed
from trainer.gates import Replaced, accuracy_loss, int8_loss, replaced_by, slowness

MANIFEST = Path("set/manifest.csv")


def evaluation(auc: float, int8_auc: float) -> Evaluation:
    figures = Figures.__new__(Figures)  # only what the gates look at
    for name, value in {"auc": auc, "int8_auc": int8_auc, "videos": 300}.items():
        object.__setattr__(figures, name, value)
    return Evaluation((Judged("bright", Calibration(), 0.5, (0.3, 0.7), 0.5, figures),))


def replaced(auc: float = 0.8, manifest: Path = MANIFEST) -> Replaced:
    return Replaced(Path("old"), spec(), {"bright": auc}, str(manifest))


@pytest.mark.parametrize(
    ("int8_auc", "refused"), [(0.81, False), (0.791, False), (0.785, True), (float("nan"), True)]
)
def test_int8_may_lose_a_point(int8_auc: float, refused: bool) -> None:
    complaints = int8_loss(evaluation(0.8, int8_auc), Gate())
    assert bool(complaints) == refused
    if refused:
        assert f"INT8 has AUC {int8_auc:.3f} on the held-out folds and FP32 0.800" in complaints[0]


@pytest.mark.parametrize(("auc", "refused"), [(0.85, False), (0.79, False), (0.77, True)])
def test_held_out_figures_must_not_fall(auc: float, refused: bool) -> None:
    complaints = accuracy_loss(evaluation(auc, auc), MANIFEST, replaced(), Gate())
    assert bool(complaints) == refused
    if refused:
        assert complaints == [
            "bright: held-out AUC 0.770 on 300 videos, and 0.800 of version 1; allowed loss 0.02"
        ]


def test_figures_on_other_data_are_not_compared() -> None:
    assert accuracy_loss(evaluation(0.5, 0.5), MANIFEST, replaced(manifest=Path("other.csv")), Gate()) == []


@pytest.mark.parametrize(("ms", "refused"), [(4.0, False), (7.0, False), (8.0, True)])
def test_the_fastest_variants_are_compared_on_each_provider(ms: float, refused: bool) -> None:
    speeds = [
        Speed("fp32", "cpu", 2, 20.0, 20.0),
        Speed("int8", "cpu", 2, ms, ms),
        Speed("1/fp32", "cpu", 2, 6.0, 6.0),
    ]
    complaints = slowness(speeds, replaced(), Gate(slower=1.25))
    assert bool(complaints) == refused
    if refused:
        assert complaints[0].startswith("cpu: 8.0 ms a clip, and 6.0 ms of version 1 measured beside it")


def test_the_newest_version_is_the_one_replaced(tmp_path: Path) -> None:
    assert replaced_by("tiny-filter", tmp_path) is None
    for version, auc in (("1.9", 0.7), ("1.10", 0.8)):
        folder = tmp_path / "tiny-filter" / version
        folder.mkdir(parents=True)
        write_spec(folder, spec().model_copy(update={"version": version}))
        labels = [{"name": "bright", "figures": {"auc": auc}}]
        metrics = {"labels": labels, "config": {"data": {"manifest": "m.csv"}}}
        (folder / "metrics.json").write_text(json.dumps(metrics))
    found = replaced_by("tiny-filter", tmp_path)
    assert found is not None
    assert (found.spec.version, found.aucs, found.trained_on) == ("1.10", {"bright": 0.8}, "m.csv")
    assert found.files == {"1.10/fp32": tmp_path / "tiny-filter" / "1.10" / "m.onnx"}


def test_a_model_that_ships_is_not_replaced_by_one_made_elsewhere(tmp_path: Path) -> None:
    assert replaced_by("violence-filter", tmp_path) is None


def run_gates(artifact_is: float, *, force: bool) -> list[str]:
    said: list[str] = []
    config = TrainConfig.model_validate(
        {
            "name": "tiny-filter",
            "version": "2",
            "role": "filter",
            "data": {"manifest": str(MANIFEST)},
            "labels": [{"name": "bright", "positives": ["yes"]}],
            "video": VIDEO,
            "architecture": {"name": "r2plus1d"},
        }
    )
    speeds = [Speed("int8", "cpu", 2, 5.0, 5.0), Speed("1/fp32", "cpu", 2, 5.0, 5.0)]
    check_gates(config, evaluation(artifact_is, artifact_is), speeds, replaced(), force, said.append)
    return said


def test_what_is_worse_is_refused_unless_it_is_forced() -> None:
    assert run_gates(0.81, force=False) == []
    with pytest.raises(GateClosed, match=r"not installed: bright: held-out AUC 0\.700 .*--force installs it"):
        run_gates(0.7, force=False)
    (told,) = run_gates(0.7, force=True)
    assert told.startswith("forced in spite of: bright: held-out AUC 0.700")
