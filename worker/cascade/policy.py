"""What a platform wants done about each label: the policy file, resolved against the loaded models.

A policy maps a label to two thresholds (``review``, ``block``), and may state the prevalence expected in
production and the band that escalates. Where it is silent, the models' specs speak:

- a label that a policy does not name keeps the models' defaults, so that a new label is never ignored
  by accident; ``ignore: true`` switches one off;
- the models' default is ``review`` at the label's threshold and ``block`` only where the odds are
  ``BLOCK_ODDS`` times as high (threshold 0.5: block at 0.952), since a person shall see what is not clear;
- a label that names only one threshold has only that one;
- thresholds and bands of the file apply to probabilities corrected to the file's prevalence; thresholds
  and bands of the specs stand at the training prevalence and get the scores' own correction.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from models.spec import Aggregation, Label, ModelSpec
from worker.cascade.policy_file import LabelPolicy, PolicyFile, read_policy_file
from worker.cascade.prior import logit_shift, shifted_one
from worker.errors import PolicyInvalid, UnknownPolicy

DEFAULT_POLICY = "default"
BUILT_IN_VERSION = "built-in"
BLOCK_ODDS = 20.0

Band = tuple[float, float]


@dataclass(frozen=True, slots=True)
class StageRule:
    """How one model's scores of one label are read."""

    shift: float  # added to the logit of each clip
    aggregation: Aggregation
    review: float | None  # thresholds on the corrected probability of the video; None: never
    block: float | None

    @property
    def lowest(self) -> float:
        return min(value for value in (self.review, self.block) if value is not None)


@dataclass(frozen=True, slots=True)
class LabelRule:
    """One label of one policy. A stage is None when that model does not know the label."""

    label: str
    parent: str
    first: StageRule | None  # of the filter or of an additional model
    escalation: StageRule | None
    band: Band | None  # [low, high) on the corrected first probability; None: the first look settles it
    look: int = 0  # index into ContentScores.looks: whose clips the label is judged by
    fusion_weight: float = 1.0  # of the escalation's log-odds; the rest is the first look's


@dataclass(frozen=True, slots=True)
class Policy:
    name: str
    rules: tuple[LabelRule, ...]
    max_escalated_clips: int


class Policies:
    """Every policy that an event may name."""

    def __init__(self, policies: Mapping[str, Policy], version: str) -> None:
        self._policies = dict(policies)
        self.version = version

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(sorted(self._policies))

    def get(self, name: str) -> Policy:
        if name not in self._policies:
            raise UnknownPolicy(f"policy {name!r} does not exist; known: {', '.join(self.names)}")
        return self._policies[name]


def load_policies(
    file: PolicyFile | None,
    first_specs: Sequence[ModelSpec],
    escalation_spec: ModelSpec | None,
    *,
    default: str = DEFAULT_POLICY,
    max_escalated_clips: int = 16,
) -> Policies:
    """Resolve a policy file (``read_policy_file``; None: there is none) against the loaded models.

    ``first_specs``: of the models that look at every upload, the filter first. No two know one label.
    Raises PolicyInvalid when the file names a label that no model that looks at every upload knows, when
    it ignores all of them, when a band does not hold the
    threshold that it is about, or when ``default`` does not exist.
    """
    requested = {name: dict(policy.labels) for name, policy in file.policies.items()} if file else {}
    requested.setdefault(DEFAULT_POLICY, {})
    where = file.path if file else "the built-in policy"
    policies = {}
    for name, labels in requested.items():
        rules = _rules(labels, first_specs, escalation_spec, f"{where}: policies.{name}")
        policies[name] = Policy(name, rules, max_escalated_clips)
    if default not in policies:
        raise PolicyInvalid(
            f"{where}: the default policy {default!r} does not exist; accepted: {', '.join(sorted(policies))}"
        )
    return Policies(policies, file.version_name if file else BUILT_IN_VERSION)


def _rules(
    labels: Mapping[str, LabelPolicy],
    first_specs: Sequence[ModelSpec],
    escalation_spec: ModelSpec | None,
    where: str,
) -> tuple[LabelRule, ...]:
    specs = (*first_specs, escalation_spec) if escalation_spec else first_specs
    known = dict.fromkeys(name for spec in specs for name in spec.label_names)
    unknown = [label for label in labels if label not in known]
    if unknown:
        raise PolicyInvalid(
            f"{where}: unknown labels {', '.join(unknown)}; the loaded models know: {', '.join(known)}"
        )
    everywhere = {name for spec in first_specs for name in spec.label_names}
    unseen = [label for label, wanted in labels.items() if not wanted.ignore and label not in everywhere]
    if unseen:
        raise PolicyInvalid(
            f"{where}: only the escalation model knows {', '.join(unseen)}, and it does not look at every "
            "upload: serve a model that does as inference.additional, or set `ignore: true`"
        )
    if all(name in labels and labels[name].ignore for name in everywhere):
        raise PolicyInvalid(f"{where}: every label is ignored, so everything would be allowed")
    return tuple(
        _rule(name, labels.get(name, LabelPolicy()), first_specs, escalation_spec, f"{where}.labels.{name}")
        for name in known
        if name not in labels or not labels[name].ignore
    )


def _rule(
    name: str,
    wanted: LabelPolicy,
    first_specs: Sequence[ModelSpec],
    escalation_spec: ModelSpec | None,
    where: str,
) -> LabelRule:
    look = next((i for i, spec in enumerate(first_specs) if name in spec.label_names), 0)
    by_first = _find(first_specs[look], name)
    by_escalation = _find(escalation_spec, name) if escalation_spec else None
    first = _stage(wanted, by_first, first_specs[look]) if by_first else None
    second = _stage(wanted, by_escalation, escalation_spec) if by_escalation and escalation_spec else None
    band = _band(wanted, by_first, first, where) if by_first and first and second else None
    parents = [label.parent for label in (by_first, by_escalation) if label]
    parent = next((parent for parent in parents if parent), "")
    weight = escalation_spec.fusion_weight if escalation_spec else 1.0
    return LabelRule(name, parent, first, second, band, look, weight)


def _find(spec: ModelSpec, name: str) -> Label | None:
    return next((label for label in spec.labels if label.name == name), None)


def _stage(wanted: LabelPolicy, label: Label, spec: ModelSpec) -> StageRule:
    shift = logit_shift(label.training_prevalence, wanted.prevalence)
    if wanted.review is not None or wanted.block is not None:
        return StageRule(shift, spec.aggregation, wanted.review, wanted.block)
    return StageRule(
        shift,
        spec.aggregation,
        review=shifted_one(label.threshold, shift),
        block=shifted_one(label.threshold, shift + math.log(BLOCK_ODDS)),
    )


def _band(wanted: LabelPolicy, label: Label, stage: StageRule, where: str) -> Band:
    """The band must hold the lowest threshold: else what lies between would be allowed unexamined."""
    if wanted.band is not None:
        low, high = wanted.band
        if not low <= stage.lowest <= high:
            raise PolicyInvalid(
                f"{where}.band: {list(wanted.band)} does not hold the lowest threshold {stage.lowest:.4g}; "
                f"accepted: low <= {stage.lowest:.4g} <= high (equal to both: never escalate)"
            )
        return low, high
    low, high = (shifted_one(edge, stage.shift) for edge in label.band)
    if low == high:  # the spec wants no escalation of this label
        return low, high
    return min(low, stage.lowest), max(high, stage.lowest)


__all__ = [
    "BLOCK_ODDS",
    "DEFAULT_POLICY",
    "LabelRule",
    "Policies",
    "Policy",
    "StageRule",
    "load_policies",
    "read_policy_file",
]
