"""Which labels are unsettled, what goes up to the escalation model, and the decision. Pure.

    todo = uncertain(policy, scores)      # todo.clips: the clips to escalate
    ...                                   # the moderator runs the escalation model on them
    outcome = decide(policy, scores)      # with the escalation's scores where they were brought

Escalation that is due and was not brought, for whatever reason (overload, deadline, no time to decode
again), widens every unsettled label to ``review``: there is no switch by which it could become ``allow``.
So does a part that nobody could look at, with every label.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from worker.cascade.aggregate import (
    Timeline,
    find_start,
    fused,
    replaced,
    segments,
    timeline,
    video_probability,
)
from worker.cascade.policy import LabelRule, Policy, StageRule
from worker.cascade.types import Action, Clip, ContentScores, LabelVerdict, Look, Segment, StageScores

STRENGTH: dict[Action, int] = {"allow": 0, "review": 1, "block": 2}


@dataclass(frozen=True, slots=True)
class Uncertain:
    """What the first look could not settle and the escalation has not yet looked at."""

    labels: tuple[str, ...]
    clips: tuple[Clip, ...]  # ascending


@dataclass(frozen=True, slots=True)
class Outcome:
    decision: Action  # the strongest of the labels' actions
    labels: tuple[LabelVerdict, ...]  # every label of the policy, in its order
    segments: tuple[Segment, ...]  # of the labels that are not allowed
    unsettled: tuple[str, ...]  # labels widened to review because their escalation is missing


def uncertain(policy: Policy, scores: ContentScores) -> Uncertain:
    """The labels whose video probability lies in their band, and the clips that shall go up for them."""
    wanted = _wanted(policy, scores)
    return _unsettled(wanted, _within_budget(wanted, policy.max_escalated_clips), scores)


def decide(policy: Policy, scores: ContentScores) -> Outcome:
    """The decision that these scores give under this policy.

    Only escalation scores that this policy asked for are read, so that what another policy left in the
    cache cannot change the answer.
    """
    wanted = _wanted(policy, scores)
    chosen = _within_budget(wanted, policy.max_escalated_clips)
    escalations = tuple(_only(look, chosen, place) for place, look in enumerate(scores.looks))
    unsettled = _unsettled(wanted, chosen, scores).labels
    judged = [
        _judge(rule, stage, line, widened=scores.is_partial or rule.label in unsettled)
        for rule in policy.rules
        for stage, line in [_evidence(rule, scores, _read(rule, wanted, escalations))]
        if stage is not None and line is not None
    ]
    verdicts = tuple(verdict for verdict, _ in judged)
    return Outcome(
        decision=max((verdict.action for verdict in verdicts), key=STRENGTH.__getitem__),
        labels=verdicts,
        segments=tuple(segment for _, found in judged for segment in found),
        unsettled=unsettled,
    )


def _unsettled(
    wanted: dict[str, tuple[Clip, ...]], chosen: frozenset[Clip], scores: ContentScores
) -> Uncertain:
    """Of what is wanted and within the budget, what the escalation has not looked at."""
    missing = {clip for clip in chosen if not _is_escalated(scores, clip)}
    labels = tuple(
        label
        for label, clips in wanted.items()
        if missing.intersection(clips) or not chosen.intersection(clips)
    )
    return Uncertain(labels, tuple(sorted(missing)))


def _wanted(policy: Policy, scores: ContentScores) -> dict[str, tuple[Clip, ...]]:
    """For each uncertain label the clips that could settle it, most suspicious first."""
    wanted = {rule.label: _wanted_by(rule, scores) for rule in policy.rules}
    return {label: clips for label, clips in wanted.items() if clips}


def _wanted_by(rule: LabelRule, scores: ContentScores) -> tuple[Clip, ...]:
    """The clips inside the band; when the video is uncertain but no clip is, its highest ones."""
    if rule.band is None or rule.first is None:
        return ()
    line = timeline(scores.looks[rule.look].first, rule.label, rule.first.shift, scores.info.duration_s)
    low, high = rule.band
    if not low <= video_probability(line, rule.first.aggregation) < high:
        return ()
    highest_first = [int(i) for i in np.argsort(-line.probabilities, kind="stable")]
    inside = [i for i in highest_first if low <= line.probabilities[i] < high]
    return tuple(Clip(rule.look, i) for i in inside or highest_first[: rule.first.aggregation.k])


def _within_budget(wanted: dict[str, tuple[Clip, ...]], budget: int) -> frozenset[Clip]:
    """The labels take turns, each with its most suspicious clip first, until the budget is used."""
    longest = max((len(clips) for clips in wanted.values()), default=0)
    in_turn = (clips[turn] for turn in range(longest) for clips in wanted.values() if turn < len(clips))
    return frozenset(list(dict.fromkeys(in_turn))[:budget])


def _is_escalated(scores: ContentScores, clip: Clip) -> bool:
    look = scores.looks[clip.look]
    if look.escalation is None:
        return False
    return find_start(look.escalation.starts_s, look.first.starts_s[clip.row]) is not None


def _only(look: Look, clips: frozenset[Clip], place: int) -> StageScores | None:
    """The escalation's scores of those of these clips that are of this look; None when there are none."""
    if look.escalation is None:
        return None
    asked_s = tuple(look.first.starts_s[clip.row] for clip in sorted(clips) if clip.look == place)
    brought_s = look.escalation.starts_s
    kept = [i for i, start_s in enumerate(brought_s) if find_start(asked_s, start_s) is not None]
    if not kept:
        return None
    return replace(
        look.escalation,
        starts_s=tuple(brought_s[i] for i in kept),
        probabilities=look.escalation.probabilities[kept],
    )


def _read(
    rule: LabelRule, wanted: dict[str, tuple[Clip, ...]], escalations: tuple[StageScores | None, ...]
) -> StageScores | None:
    """What a label takes from the escalation: of its own look's clips, and nothing where it is settled.

    A label that no first look knows has no other source: it takes all that there is.
    """
    if rule.first is None:
        return _together([scores for scores in escalations if scores is not None])
    return escalations[rule.look] if rule.label in wanted else None


def _together(parts: list[StageScores]) -> StageScores | None:
    """Scores of one model by start; None when there are none."""
    if len(parts) < 2:
        return parts[0] if parts else None
    starts_s = np.concatenate([part.starts_s for part in parts])
    order = np.argsort(starts_s, kind="stable")
    probabilities = np.concatenate([part.probabilities for part in parts])
    return replace(parts[0], starts_s=tuple(starts_s[order].tolist()), probabilities=probabilities[order])


def _evidence(
    rule: LabelRule, scores: ContentScores, escalation: StageScores | None
) -> tuple[StageRule | None, Timeline | None]:
    """The rule and the clips that a label is judged by; None where no model looked."""
    duration_s = scores.info.duration_s
    looked = scores.looks[rule.look].first
    first = timeline(looked, rule.label, rule.first.shift, duration_s) if rule.first else None
    if escalation is None or rule.escalation is None:
        return rule.first, first
    second = timeline(escalation, rule.label, rule.escalation.shift, duration_s)
    if first is None:
        return rule.escalation, second
    return rule.escalation, replaced(first, fused(first, second, rule.fusion_weight))


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
