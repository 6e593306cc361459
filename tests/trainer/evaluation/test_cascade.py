"""Two models as one system: by tables, and against serving's rule."""

from dataclasses import replace

import numpy as np
import pytest

from tests.cascade.examples import spec
from tests.trainer.evaluation.examples import LABEL, held_out
from trainer.calibrate import fit_calibration
from trainer.evaluation.bands import Target, all_bands, choose, cross_fitted_run
from trainer.evaluation.cascade import Cascade, Stage, calibrated, cascade_of
from trainer.evaluation.held_out import HeldOutError

BAND = (0.3, 0.8)


def stage(role: str, clips: list[list[float]], ms: float, weight: float = 1.0) -> Stage:
    found = spec(role, (LABEL,), band=BAND, fusion_weight=weight)
    return Stage(found, ms, tuple(np.array(video) for video in clips))


def cascade(first: list[list[float]], second: list[list[float]], weight: float = 1.0) -> Cascade:
    return Cascade(stage("filter", first, 2.0), stage("escalation", second, 10.0, weight), LABEL)


@pytest.mark.parametrize(
    ("first", "second", "escalated", "probability", "action"),
    [
        ([0.1, 0.2], [0.9, 0.9], 0, 0.2, "allow"),  # settled below the band: the escalation never looks
        ([0.1, 0.4], [0.9, 0.6], 1, 0.6, "review"),  # only the clip inside the band goes up
        ([0.6, 0.7], [0.1, 0.2], 2, 0.2, "allow"),
        ([0.6, 0.7], [0.1, 0.99], 2, 0.99, "block"),
        ([0.1, 0.97], [0.1, 0.1], 0, 0.97, "block"),  # settled above it
        ([0.1, 0.85], [0.1, 0.1], 0, 0.85, "review"),
    ],
)
def test_what_a_video_comes_to(
    first: list[float], second: list[float], escalated: int, probability: float, action: str
) -> None:
    run = cascade([first], [second]).run(BAND)
    assert run.escalated_clips[0] == escalated
    assert run.probabilities[0] == pytest.approx(probability)
    assert (bool(run.held[0]), bool(run.reviewed[0])) == (action != "allow", action == "review")


def test_cost_is_a_share_of_the_heavy_model_on_every_clip() -> None:
    two = cascade([[0.1, 0.4], [0.1, 0.1]], [[0.5, 0.5], [0.5, 0.5]])
    assert two.cost(two.run(BAND)) == pytest.approx((4 * 2 + 1 * 10) / (4 * 10))
    assert two.cost(two.always_light()) == pytest.approx(0.2)
    assert two.cost(two.run(BAND), np.array([1])) == pytest.approx(0.2)


def test_where_the_filter_has_a_say_it_is_part_of_every_cost_and_answer() -> None:
    two = cascade([[0.5, 0.1]], [[0.8, 0.9]], weight=0.5)
    assert two.always_heavy().probabilities == pytest.approx([2 / 3])
    assert two.cost(two.always_heavy()) == pytest.approx(1.0)
    assert two.cost(two.always_light()) == pytest.approx(2 / 12)


def test_the_ends_are_the_models_alone() -> None:
    first, second = [[0.4, 0.45], [0.9, 0.2]], [[0.8, 0.9], [0.1, 0.2]]
    two = cascade(first, second)
    assert two.always_light().probabilities == pytest.approx([0.45, 0.9])
    assert two.always_heavy().probabilities == pytest.approx([0.9, 0.2])
    assert two.run((0.0, 1.0)).probabilities == pytest.approx([0.9, 0.2])


def test_stages_must_have_seen_the_same_clips() -> None:
    with pytest.raises(HeldOutError, match="scored 1 clips of a video and the escalation 2"):
        cascade([[0.4]], [[0.4, 0.4]])


def test_bands_hold_the_threshold() -> None:
    bands = all_bands(0.5)
    assert bands[0] == (0.5, 0.5)
    assert bands[-1] == (0.0, 1.0)
    assert len(bands) == len(set(bands)) == 11 * 11
    assert all(low <= 0.5 <= high for low, high in bands)


def chosen(target: Target) -> tuple[tuple[float, float], bool]:
    """Four videos: the filter misses the second positive at 0.42 and raises a false alarm at 0.62."""
    two = cascade([[0.9], [0.42], [0.62], [0.1]], [[0.9], [0.9], [0.1], [0.1]])
    truth = np.array([1.0, 1.0, 0.0, 0.0])
    runs = [two.run(band) for band in all_bands(0.5)]
    found = choose(two, runs, two.always_heavy(), truth, target, np.arange(4))
    return found.band, found.met


@pytest.mark.parametrize(
    ("target", "band", "met"),
    [
        (Target(0.01, 0.75), (0.4, 0.65), True),  # both are met: the fewest false alarms
        (Target(0.01, 0.5), (0.4, 0.5), True),  # one clip may go up: recall needs it
        (Target(0.01, 0.3), (0.4, 0.5), False),  # too dear: recall wins, as cheaply as it can
        (Target(0.5, 0.3), (0.5, 0.5), True),  # half of the recall may go
    ],
)
def test_the_band_is_chosen_for_a_recall_at_a_cost(
    target: Target, band: tuple[float, float], met: bool
) -> None:
    assert chosen(target) == (band, met)


def test_a_fold_is_judged_by_the_band_of_the_others() -> None:
    scores, better = held_out(3.0, seed=1), held_out(1.0, seed=2)
    two = cascade_of(spec("filter"), scores, spec("escalation"), better, (2.0, 10.0), LABEL)
    truth = scores.targets[:, 0].astype(float)
    runs = [two.run(band) for band in all_bands(0.5)]
    heavy, target = two.always_heavy(), Target(0.0, 0.5)
    found = cross_fitted_run(two, runs, heavy, truth, scores.folds, target)
    by_band = {run.band: run for run in runs}
    folds = np.asarray(scores.folds)
    for fold in "012":
        own = folds == fold
        band = choose(two, runs, heavy, truth, target, np.flatnonzero(~own)).band
        assert found.probabilities[own] == pytest.approx(by_band[band].probabilities[own])


def test_int8_is_read_by_the_calibration_that_ships() -> None:
    """That of the FP32 scores, though the INT8 ones lie higher here and would get another."""
    scores = held_out(3.0, seed=1)
    scores = replace(scores, int8_scores=tuple(clips + 1.0 for clips in scores.scores))
    found = calibrated(scores, scores.int8_scores, LABEL)
    truth = scores.targets[:, 0].tolist()
    for index, fold in enumerate(scores.folds):
        others = [i for i, other in enumerate(scores.folds) if other != fold]
        logits = [np.asarray(scores.scores[i][:, 0], np.float64) for i in others]
        fitted = fit_calibration(logits, [truth[i] for i in others])
        assert found[index] == pytest.approx(fitted(scores.int8_scores[index][:, 0]))
