"""Which labels are unsettled, what goes up to the escalation model, and the decision. Pure.

    todo = uncertain(policy, scores)      # todo.clips: indices of filter clips to escalate
    ...                                   # the moderator runs the escalation model on them
    outcome = decide(policy, scores)      # with the escalation's scores where they were brought

Escalation that is due and was not brought, for whatever reason (overload, deadline, no time to decode
again), widens every unsettled label to ``review``: there is no switch by which it could become ``allow``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from worker.cascade.aggregate import (
    Timeline,
    find_start,
    replaced,
    segments,
    timeline,
    video_probability,
)
from worker.cascade.policy import LabelRule, Policy, StageRule
from worker.cascade.types import Action, ContentScores, LabelVerdict, Segment, StageScores

STRENGTH: dict[Action, int] = {"allow": 0, "review": 1, "block": 2}


@dataclass(frozen=True, slots=True)
class Uncertain:
    """What the filter could not settle and the escalation has not yet looked at."""

    labels: tuple[str, ...]
    clips: tuple[int, ...]  # indices into the filter's clips, ascending


@dataclass(frozen=True, slots=True)
class Outcome:
    decision: Action  # the strongest of the labels' actions
    labels: tuple[LabelVerdict, ...]  # every label of the policy, in its order
    segments: tuple[Segment, ...]  # of the labels that are not allowed
    unsettled: tuple[str, ...]  # labels widened to review because their escalation is missing


def uncertain(policy: Policy, scores: ContentScores) -> Uncertain:
    """The labels whose video probability lies in their band, and the clips that shall go up for them."""
    wanted = _wanted(policy, scores)
    chosen = _within_budget(wanted, policy.max_escalated_clips)
    missing = {clip for clip in chosen if not _is_escalated(scores, clip)}
    labels = tuple(
        label
        for label, clips in wanted.items()
        if missing.intersection(clips) or not chosen.intersection(clips)
    )
    return Uncertain(labels, tuple(sorted(missing)))


def decide(policy: Policy, scores: ContentScores) -> Outcome:
    """The decision that these scores give under this policy.

    Only escalation scores that this policy asked for are read, so that what another policy left in the
    cache cannot change the answer.
    """
    wanted = _wanted(policy, scores)
    escalation = _only(scores, _within_budget(wanted, policy.max_escalated_clips))
    unsettled = uncertain(policy, scores).labels
    judged = [
        _judge(rule, stage, line, widened=rule.label in unsettled)
        for rule in policy.rules
        for stage, line in [_evidence(rule, scores, escalation if _reads(rule, wanted) else None)]
        if stage is not None and line is not None
    ]
    verdicts = tuple(verdict for verdict, _ in judged)
    return Outcome(
        decision=max((verdict.action for verdict in verdicts), key=STRENGTH.__getitem__, default="allow"),
        labels=verdicts,
        segments=tuple(segment for _, found in judged for segment in found),
        unsettled=unsettled,
    )


def _wanted(policy: Policy, scores: ContentScores) -> dict[str, tuple[int, ...]]:
    """For each uncertain label the clips that could settle it, most suspicious first."""
    wanted = {rule.label: _wanted_by(rule, scores) for rule in policy.rules}
    return {label: clips for label, clips in wanted.items() if clips}


def _wanted_by(rule: LabelRule, scores: ContentScores) -> tuple[int, ...]:
    """The clips inside the band; when the video is uncertain but no clip is, its highest ones."""
    if rule.band is None or rule.filter is None:
        return ()
    line = timeline(scores.filter, rule.label, rule.filter.shift, scores.info.duration_s)
    low, high = rule.band
    if not low <= video_probability(line, rule.filter.aggregation) < high:
        return ()
    highest_first = [int(i) for i in np.argsort(-line.probabilities, kind="stable")]
    inside = [i for i in highest_first if low <= line.probabilities[i] < high]
    return tuple(inside or highest_first[: rule.filter.aggregation.k])


def _within_budget(wanted: dict[str, tuple[int, ...]], budget: int) -> frozenset[int]:
    """The labels take turns, each with its most suspicious clip first, until the budget is used."""
    longest = max((len(clips) for clips in wanted.values()), default=0)
    in_turn = (clips[turn] for turn in range(longest) for clips in wanted.values() if turn < len(clips))
    return frozenset(list(dict.fromkeys(in_turn))[:budget])


def _is_escalated(scores: ContentScores, clip: int) -> bool:
    if scores.escalation is None:
        return False
    return find_start(scores.escalation.starts_s, scores.filter.starts_s[clip]) is not None


def _only(scores: ContentScores, clips: frozenset[int]) -> StageScores | None:
    """The escalation's scores of these clips; None when there are none."""
    if scores.escalation is None:
        return None
    asked_s = tuple(scores.filter.starts_s[clip] for clip in sorted(clips))
    brought_s = scores.escalation.starts_s
    kept = [i for i, start_s in enumerate(brought_s) if find_start(asked_s, start_s) is not None]
    if not kept:
        return None
    return StageScores(
        labels=scores.escalation.labels,
        starts_s=tuple(brought_s[i] for i in kept),
        clip_s=scores.escalation.clip_s,
        probabilities=scores.escalation.probabilities[kept],
    )


def _reads(rule: LabelRule, wanted: dict[str, tuple[int, ...]]) -> bool:
    """What the filter settled stays as it is; a label that it does not know has no other source."""
    return rule.label in wanted or rule.filter is None


def _evidence(
    rule: LabelRule, scores: ContentScores, escalation: StageScores | None
) -> tuple[StageRule | None, Timeline | None]:
    """The rule and the clips that a label is judged by; None where no model looked."""
    duration_s = scores.info.duration_s
    first = timeline(scores.filter, rule.label, rule.filter.shift, duration_s) if rule.filter else None
    if escalation is None or rule.escalation is None:
        return rule.filter, first
    second = timeline(escalation, rule.label, rule.escalation.shift, duration_s)
    return rule.escalation, second if first is None else replaced(first, second)


def _judge(
    rule: LabelRule, stage: StageRule, line: Timeline, *, widened: bool
) -> tuple[LabelVerdict, tuple[Segment, ...]]:
    probability = video_probability(line, stage.aggregation)
    action, threshold = _action(stage, probability)
    if widened and action == "allow":
        action, threshold = "review", stage.lowest
    verdict = LabelVerdict(rule.label, rule.parent, probability, threshold, action)
    return verdict, () if action == "allow" else _seen(rule, stage, line, widened=widened)


def _action(stage: StageRule, probability: float) -> tuple[Action, float]:
    if stage.block is not None and probability >= stage.block:
        return "block", stage.block
    if stage.review is not None and probability >= stage.review:
        return "review", stage.review
    return "allow", stage.lowest


def _seen(rule: LabelRule, stage: StageRule, line: Timeline, *, widened: bool) -> tuple[Segment, ...]:
    """Where a person should look. A label that is not allowed always has a segment."""
    cut = min(stage.lowest, rule.band[0]) if widened and rule.band else stage.lowest
    return segments(line, min(cut, float(line.probabilities.max())))
