"""Labels of several models in one decision: each by its own model's clips, band and escalation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.cascade.examples import FILTER, content, look, policies, shown, spec, stage
from worker.cascade.decide import decide, uncertain
from worker.cascade.types import Clip, ContentScores, Look, StageScores

NUDITY = spec("additional", ("nudity",), threshold=0.6, band=(0.4, 0.9))
ESCALATION = spec("escalation", ("violence",))
KNOWS_BOTH = spec("escalation", ("violence", "nudity", "gore"))


def of_both(violence: Look, nudity: Look) -> ContentScores:
    return replace(content([0.0]), looks=(violence, nudity))


@pytest.mark.parametrize(
    ("violence", "nudity", "decision", "actions"),
    [
        ([0.1], [0.1], "allow", ["allow", "allow"]),
        ([0.1], [0.7], "review", ["allow", "review"]),  # its own threshold is 0.6
        ([0.1], [0.55], "allow", ["allow", "allow"]),
        ([0.85], [0.1], "review", ["review", "allow"]),
        ([0.85], [0.99], "block", ["review", "block"]),  # the strongest of the labels
    ],
)
def test_the_labels_of_two_models_meet(
    violence: list[float], nudity: list[float], decision: str, actions: list[str]
) -> None:
    policy = policies(additional=(NUDITY,), escalation_spec=None).get("default")
    outcome = decide(policy, of_both(look(violence), look(nudity, label="nudity")))
    assert [label.name for label in outcome.labels] == ["violence", "nudity"]
    assert (outcome.decision, [label.action for label in outcome.labels]) == (decision, actions)


def test_a_policy_names_labels_of_any_model() -> None:
    text = "version: 1\nrevision: r\npolicies: {default: {labels: {nudity: {review: 0.2, block: 0.5}}}}"
    policy = policies(text, additional=(NUDITY,)).get("default")
    outcome = decide(policy, of_both(look([0.1]), look([0.3], label="nudity")))
    assert [(label.name, label.threshold, label.action) for label in outcome.labels] == [
        ("violence", 0.5, "allow"),
        ("nudity", 0.2, "review"),
    ]


def test_segments_are_of_the_clips_of_the_labels_own_model() -> None:
    policy = policies(additional=(NUDITY,)).get("default")
    outcome = decide(policy, of_both(look([0.1, 0.1]), look({1.0: 0.7, 9.0: 0.1}, label="nudity")))
    assert shown(outcome) == [(1.0, 3.0)]


@pytest.mark.parametrize(
    ("escalation_knows", "going_up"),
    [
        (ESCALATION, ()),  # 0.5 is in the band, but nobody could say more
        (KNOWS_BOTH, (Clip(1, 1),)),
    ],
    ids=["violence only", "both labels"],
)
def test_an_additional_label_goes_up_where_the_escalation_knows_it(
    escalation_knows: object, going_up: tuple[Clip, ...]
) -> None:
    policy = policies(additional=(NUDITY,), escalation_spec=escalation_knows).get("default")  # type: ignore[arg-type]
    scores = of_both(look([0.1]), look([0.1, 0.5], label="nudity"))
    assert uncertain(policy, scores).clips == going_up
    assert decide(policy, scores).decision == ("review" if going_up else "allow")


def test_an_escalation_counts_for_the_look_whose_clips_went_up() -> None:
    policy = policies(additional=(NUDITY,), escalation_spec=KNOWS_BOTH).get("default")
    said = StageScores(KNOWS_BOTH.label_names, (2.0,), 2.0, np.array([[0.99, 0.7, 0.8]], np.float32))
    outcome = decide(policy, of_both(look([0.1, 0.1]), Look(stage([0.1, 0.5], "nudity"), said)))
    # violence was settled by the filter; gore, which only the escalation knows, is judged where it looked.
    assert [(label.name, round(label.probability, 3)) for label in outcome.labels] == [
        ("violence", 0.1),
        ("nudity", 0.7),
        ("gore", 0.8),
    ]
    assert outcome.unsettled == ()


def test_the_looks_share_the_budget_in_turn() -> None:
    policy = policies(additional=(NUDITY,), escalation_spec=KNOWS_BOTH, max_escalated_clips=3).get("default")
    scores = of_both(look([0.6, 0.5, 0.4]), look([0.5, 0.8], label="nudity"))
    assert uncertain(policy, scores).clips == (Clip(0, 0), Clip(0, 1), Clip(1, 1))


def test_a_label_of_the_escalation_alone_takes_what_was_said_of_every_look() -> None:
    policy = policies(additional=(NUDITY,), escalation_spec=KNOWS_BOTH).get("default")

    def said(start_s: float, gore: float) -> StageScores:
        return StageScores(KNOWS_BOTH.label_names, (start_s,), 2.0, np.array([[0.5, 0.5, gore]], np.float32))

    scores = of_both(Look(stage([0.1, 0.4]), said(2.0, 0.2)), Look(stage([0.5], "nudity"), said(0.0, 0.9)))
    gore = next(label for label in decide(policy, scores).labels if label.name == "gore")
    assert gore.probability == pytest.approx(0.9)


def test_scores_that_lack_an_additional_model_are_an_error_and_not_silence() -> None:
    policy = policies(additional=(NUDITY,)).get("default")
    with pytest.raises(IndexError):
        decide(policy, content([0.1]))


def test_the_filters_labels_are_unchanged_beside_another_model() -> None:
    alone, beside = policies().get("default"), policies(additional=(NUDITY,)).get("default")
    assert alone.rules == beside.rules[:1]
    assert FILTER.label_names == ("violence",)
