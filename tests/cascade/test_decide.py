from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.spec import Aggregation
from tests.cascade.examples import CLIP_S, ESCALATION, FILTER, content, policies, shown, spec, stage
from worker.cascade.decide import STRENGTH, Uncertain, decide, uncertain
from worker.cascade.types import ContentScores, Look, StageScores

# The default policy of the example models: band [0.3, 0.8), review at 0.5, block at 0.952; highest clip.
DEFAULT = policies().get("default")
PROBABILITY = st.floats(0, 1, width=32)
CLIPS = st.lists(PROBABILITY, min_size=1, max_size=10)


def indices(found: Uncertain) -> tuple[int, ...]:
    """Of the filter's clips; no other model's are among them."""
    assert all(clip.look == 0 for clip in found.clips)
    return tuple(clip.row for clip in found.clips)


@pytest.mark.parametrize(
    ("clips", "going_up"),
    [
        ([0.1, 0.2], ()),  # settled: allow
        ([0.1, 0.9], ()),  # settled: seen
        ([0.1, 0.4], (1,)),
        ([0.3, 0.1], (0,)),  # the band holds its low edge
        ([0.8, 0.1], ()),  # and not its high one
        ([0.4, 0.1, 0.7], (0, 2)),
        ([0.4, 0.9], ()),  # a clip in the band does not matter when the video is settled
    ],
)
def test_which_clips_go_up(clips: list[float], going_up: tuple[int, ...]) -> None:
    found = uncertain(DEFAULT, content(clips))
    assert indices(found) == going_up
    assert found.labels == (("violence",) if going_up else ())


def test_when_only_the_video_is_uncertain_its_highest_clips_go_up() -> None:
    both = Aggregation(method="top_k_mean", k=2)
    policy = policies(filter_spec=spec("filter", aggregation=both)).get("default")
    assert indices(uncertain(policy, content([0.05, 0.9, 0.2, 0.1]))) == (1, 2)  # 0.9 and 0.2: 0.55


def test_the_budget_takes_the_most_suspicious_clips() -> None:
    policy = policies(max_escalated_clips=2).get("default")
    assert indices(uncertain(policy, content([0.4, 0.7, 0.5, 0.6]))) == (1, 3)


def test_labels_share_the_budget_in_turn() -> None:
    labels = ("violence", "hate")
    policy = policies(
        filter_spec=spec("filter", labels), escalation_spec=spec("escalation", labels), max_escalated_clips=2
    ).get("default")
    first, second = stage([0.6, 0.7, 0.1]), stage([0.1, 0.1, 0.4])
    both = StageScores(labels, first.starts_s, CLIP_S, _beside(first, second))
    scores = ContentScores(content([0.0]).info, (Look(both),))
    assert indices(uncertain(policy, scores)) == (1, 2)
    assert uncertain(policy, scores).labels == ("violence", "hate")


@pytest.mark.parametrize(
    ("clips", "escalated", "decision", "segments"),
    [
        # settled by the filter
        ([0.1, 0.2], None, "allow", []),
        ([0.1, 0.85], None, "review", [(2, 4)]),
        ([0.97, 0.1, 0.6], None, "block", [(0, 2), (4, 6)]),
        # settled by the escalation
        ([0.1, 0.4], {2.0: 0.1}, "allow", []),
        ([0.1, 0.4], {2.0: 0.6}, "review", [(2, 4)]),
        ([0.1, 0.4], {2.0: 0.99}, "block", [(2, 4)]),
        # still in the band after the escalation: the thresholds decide
        ([0.1, 0.4], {2.0: 0.45}, "allow", []),
        ([0.1, 0.4], {2.0: 0.55}, "review", [(2, 4)]),
        # the escalation is due and missing, wholly or in part: never allow
        ([0.1, 0.4], None, "review", [(2, 4)]),
        ([0.35, 0.1, 0.4], {0.0: 0.1}, "review", [(4, 6)]),
        ([0.1, 0.7], None, "review", [(2, 4)]),
        # escalation scores that this policy did not ask for are not read
        ([0.1, 0.2], {2.0: 0.99}, "allow", []),
        ([0.1, 0.4], {0.0: 0.99, 2.0: 0.1}, "allow", []),
        ([0.97, 0.1], {0.0: 0.1}, "block", [(0, 2)]),
    ],
)
def test_decisions(
    clips: list[float],
    escalated: dict[float, float] | None,
    decision: str,
    segments: list[tuple[float, float]],
) -> None:
    outcome = decide(DEFAULT, content(clips, escalated))
    assert outcome.decision == decision
    assert shown(outcome) == segments


@pytest.mark.parametrize(
    ("clips", "action", "threshold"),
    [
        ([0.1], "allow", 0.5),  # none was reached: the lowest one
        ([0.85], "review", 0.5),
        ([0.97], "block", 20 / 21),
        ([0.4], "review", 0.5),  # widened
    ],
)
def test_a_label_names_its_threshold(clips: list[float], action: str, threshold: float) -> None:
    (verdict,) = decide(DEFAULT, content(clips)).labels
    assert (verdict.name, verdict.action) == ("violence", action)
    assert verdict.probability == pytest.approx(max(clips))
    assert verdict.threshold == pytest.approx(threshold)


def test_what_was_widened_is_told() -> None:
    assert decide(DEFAULT, content([0.4])).unsettled == ("violence",)
    assert decide(DEFAULT, content([0.4], {0.0: 0.4})).unsettled == ()


def test_scores_are_corrected_to_the_prevalence_of_the_policy() -> None:
    text = "version: 1\nrevision: r\npolicies: {default: {labels: {violence: {prevalence: 0.01}}}}"
    (verdict,) = decide(policies(text).get("default"), content([0.9])).labels
    assert verdict.probability == pytest.approx(9 / 108)
    assert verdict.action == "review"  # the spec's own threshold moved with it


def test_each_stage_is_corrected_from_its_own_prevalence() -> None:
    text = "version: 1\nrevision: r\npolicies: {default: {labels: {violence: {prevalence: 0.5}}}}"
    rare = spec("escalation", prevalence=0.1)
    policy = policies(text, escalation_spec=rare).get("default")
    (verdict,) = decide(policy, content([0.4], {0.0: 0.1})).labels
    assert verdict.probability == pytest.approx(0.5)


def test_a_label_of_the_escalation_alone_is_judged_where_it_looked() -> None:
    labels = ("violence", "scream")
    policy = policies(escalation_spec=spec("escalation", labels)).get("default")
    looked = StageScores(labels, (0.0,), CLIP_S, _beside(stage([0.1]), stage([0.9])))
    with_it = ContentScores(content([0.4]).info, (Look(stage([0.4, 0.1]), looked),))
    assert [(v.name, v.action) for v in decide(policy, with_it).labels] == [
        ("violence", "allow"),
        ("scream", "review"),
    ]
    assert [v.name for v in decide(policy, content([0.1])).labels] == ["violence"]


@given(CLIPS)
def test_unsettled_is_never_allowed(clips: list[float]) -> None:
    scores = content(clips)
    if uncertain(DEFAULT, scores).labels:
        assert decide(DEFAULT, scores).decision != "allow"


@given(CLIPS)
def test_what_was_seen_in_part_is_never_allowed(clips: list[float]) -> None:
    outcome = decide(DEFAULT, replace(content(clips), is_partial=True))
    assert outcome.decision == max(
        "review", decide(DEFAULT, content(clips)).decision, key=STRENGTH.__getitem__
    )
    assert outcome.segments


@given(CLIPS, st.data())
def test_escalating_what_is_asked_for_settles_everything(clips: list[float], data: st.DataObject) -> None:
    todo = uncertain(DEFAULT, content(clips))
    answers = {i * CLIP_S: data.draw(PROBABILITY) for i in indices(todo)}
    scores = content(clips, answers or None)
    assert uncertain(DEFAULT, scores).clips == ()
    assert decide(DEFAULT, scores).unsettled == ()


@given(CLIPS, st.data())
def test_a_more_suspicious_clip_never_weakens_the_decision(clips: list[float], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(clips) - 1))
    raised = [*clips[:index], data.draw(st.floats(clips[index], 1, width=32)), *clips[index + 1 :]]
    before, after = decide(DEFAULT, content(clips)), decide(DEFAULT, content(raised))
    assert STRENGTH[after.decision] >= STRENGTH[before.decision]


@given(CLIPS, st.dictionaries(st.sampled_from([i * CLIP_S for i in range(10)]), PROBABILITY, max_size=10))
def test_what_is_not_allowed_has_a_segment_and_what_is_has_none(
    clips: list[float], escalated: dict[float, float]
) -> None:
    outcome = decide(DEFAULT, content(clips, dict(sorted(escalated.items())) or None))
    assert bool(outcome.segments) == (outcome.decision != "allow")


@given(CLIPS, st.floats(0.001, 0.999))
def test_the_models_own_thresholds_mean_the_same_at_any_prevalence(
    clips: list[float], prevalence: float
) -> None:
    text = (
        "version: 1\nrevision: r\n"
        f"policies: {{default: {{labels: {{violence: {{prevalence: {prevalence:.6f}}}}}}}}}"
    )
    edges = (0.3, 0.5, 0.8, 20 / 21)
    if all(abs(clip - edge) > 1e-4 for clip in clips for edge in edges):
        moved = policies(text, FILTER, ESCALATION).get("default")
        assert decide(moved, content(clips)).decision == decide(DEFAULT, content(clips)).decision


def _beside(first: StageScores, second: StageScores) -> npt.NDArray[np.float32]:
    return np.hstack([first.probabilities, second.probabilities])
