"""The model card: what an artifact is, how it was trained, and what it scored on sources it never saw."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from models.spec import ModelSpec
from trainer.config import TrainConfig
from trainer.evaluation.bands import Choice
from trainer.evaluation.beside import Beside
from trainer.evaluation.elsewhere import Elsewhere
from trainer.evaluation.judge import Evaluation, Figures, Judged
from trainer.evaluation.speeds import Speed
from trainer.metrics import Difference

STARTS = {
    "": "random weights",
    **{
        f"efficientnet-lite{size}": f"ImageNet weights of EfficientNet-Lite{size} (Apache-2.0)"
        for size in range(3)
    },
}


def card(
    config: TrainConfig,
    spec: ModelSpec,
    evaluation: Evaluation,
    speeds: Sequence[Speed],
    others: Sequence[Elsewhere] = (),
    baselines: Sequence[Beside] = (),
    cascade: Choice | None = None,
    verdict: str = "",
) -> str:
    """Of the first label: ``baselines``; ``cascade``, the band as chosen with an escalation model, and the
    ``verdict`` on the two together.
    """
    first = evaluation.labels[0]
    band = _chosen(config, first, cascade, verdict) if cascade else _band(first)
    parts = (
        f"# {spec.name} {spec.version}\n\n{config.summary}",
        _what(config, spec),
        *(
            _figures(config, label, () if place else baselines, _band(label) if place else band)
            for place, label in enumerate(evaluation.labels)
        ),
        *([_elsewhere(others)] if others else []),
        _speed(speeds),
        _limits(first.figures),
    )
    return "\n\n".join(parts) + "\n"


def _what(config: TrainConfig, spec: ModelSpec) -> str:
    video = spec.video
    size = f"{video.frames} frames of {video.width}x{video.height} at {video.frame_rate_hz:g} Hz"
    sound = ", with the log-mel spectrogram of its sound where there is any" if spec.audio else ""
    init = STARTS.get(config.init, f"the weights of {Path(config.init).name}")
    return (
        f"Role: {spec.role}. Network: `{spec.architecture}`, started from {init}. "
        f"Input: clips of {size}{sound}.\n\n"
        f"Trained on: {learnt_from(config)}. {_how(config)} "
        f"The data is not part of this repository; `metrics.json` holds the whole configuration."
    )


def learnt_from(config: TrainConfig) -> str:
    """Every set, those beside the main one with their weights."""
    main = config.data.note or config.data.manifest.as_posix()
    further = [
        f"{each.note or each.manifest.as_posix()} (weight {each.weight:g})" for each in config.data.also
    ]
    return "; beside it ".join([main, "; ".join(further)] if further else [main])


def _how(config: TrainConfig) -> str:
    """In the order of ``trainer.learn``."""
    fit, distil, prune, aware_epochs = config.fit, config.distil, config.prune, config.quantise.aware_epochs
    said = []
    if distil.teachers:
        names = ", ".join(teacher.stem for teacher in distil.teachers)
        said.append(
            f"It learnt from what other networks ({names}), trained on the same videos, say of each video: "
            f"that weighs {distil.soft:.0%} of a lesson, the label the rest."
        )
    if fit.probe_views:
        said.append(
            f"The last layer is a logistic regression on {fit.probe_views} random clips of each video, its "
            f"penalty chosen on inner folds of the training sources."
        )
    if fit.epochs:
        rest = min(fit.head_epochs, fit.epochs) if config.init else 0
        resting = f", in {rest} of which the pretrained weights rest" if rest else ""
        descent = "Then gradient descent" if fit.probe_views else "Gradient descent"
        said.append(f"{descent} for {fit.epochs} epochs{resting}.")
    elif not (prune.share or aware_epochs):
        said.append(
            "Nothing else learns: pretrained weights stay as they were, parts without any as they were drawn."
        )
    if prune.share:
        said.append(
            f"Then about {prune.share:.0%} of the channels inside of blocks were cut, and the rest trained "
            f"for {prune.epochs} epochs."
        )
    if aware_epochs:
        said.append(f"Then {aware_epochs} epochs with INT8's rounding simulated.")
    return " ".join(said)


def _figures(config: TrainConfig, label: Judged, baselines: Sequence[Beside], band: str) -> str:
    """``baselines``: of this label. ``band``: a paragraph on it."""
    found = label.figures
    spread = ", ".join(f"{value:.1%}" for value in found.accuracy_by_fold.values())
    rows = "".join(
        f"| {line.name} | {_percent(line.accuracy)} | {_number(line.auc)} |\n" for line in baselines
    )
    folds = len(found.accuracy_by_fold)
    return f"""## {label.name}: held-out figures

Every video was scored by a network that had not seen its source: {folds} folds by source,
{found.videos} videos ({found.positives} positive) of {found.sources} sources.
A fold's temperature and bias come from the other folds.
**The weights that ship were trained once more on all videos and are not scored on them.**

| | accuracy | AUC |
|---|---|---|
| chance | {found.chance:.1%} | 0.500 |
{rows}| this model, held out | **{found.accuracy:.1%}** ({_range(found.accuracy_interval, "{:.1%}")}) \
| **{found.auc:.3f}** ({_range(found.auc_interval, "{:.3f}")}) |
| the same, INT8 | {found.int8_accuracy:.1%} | {found.int8_auc:.3f} |

In brackets: 95 % interval by bootstrap over sources. Accuracy by fold: {spread}.
Average precision: {found.average_precision:.3f} ({_range(found.average_precision_interval, "{:.3f}")}).
Recall at 1 % false alarms: {found.recall_at_1_percent_false_alarms:.1%} \
({_range(found.recall_at_1_percent_interval, "{:.1%}")}), \
at 5 %: {found.recall_at_5_percent_false_alarms:.1%} \
({_range(found.recall_at_5_percent_interval, "{:.1%}")}), \
pooled over the folds.
Expected calibration error: {found.calibration_error_before:.3f} before calibration, \
{found.calibration_error_after:.3f} after.
{"".join(_compared(line) for line in baselines)}
{band}

{config.notes}""".rstrip()


def _compared(line: Beside) -> str:
    """A paragraph, or nothing where there are no scores to compare with."""
    if line.why_not:
        return f"\nNot compared with {line.name}: {line.why_not}.\n"
    if line.accuracy_gained is None or line.auc_gained is None:
        return ""
    return (
        f"\nLess {line.name}, on the same drawn sources: accuracy {_gained(line.accuracy_gained)}, "
        f"AUC {_gained(line.auc_gained)}.\n"
    )


def _gained(difference: Difference) -> str:
    return (
        f"{difference.value:+.3f} ({_range(difference.interval, '{:+.3f}')}; "
        f"{difference.share_not_above_zero:.1%} of the draws at or below 0)"
    )


def _band(label: Judged) -> str:
    low, high = label.band
    found = label.figures
    return (
        f"Threshold {label.threshold:.2f} and uncertainty band [{low:.3f}, {high:.3f}) on calibrated "
        f"probability, chosen on the held-out scores of all folds together:\n"
        f"{found.band_missed:.0%} of positive videos lie below the band and "
        f"{found.band_false_alarms:.0%} of negative ones above it. "
        f"{found.band_share:.0%} of the videos lie inside."
    )


def _chosen(config: TrainConfig, label: Judged, choice: Choice, verdict: str) -> str:
    low, high = label.band
    wanted = config.calibrate
    met = "Both are met" if choice.met else "Both cannot be met, and recall wins over cost"
    return (
        f"Threshold {label.threshold:.2f} and uncertainty band [{low:.3f}, {high:.3f}) on calibrated "
        f"probability, chosen for the cascade on the held-out scores of all folds together:\nat most "
        f"{wanted.recall_lost:.1%} of recall lost to the escalation model on every clip, at no more than "
        f"{wanted.cost:.0%} of its cost. {met}: {choice.recall_lost:+.1%} lost at {choice.cost:.0%} of the "
        f"cost. {verdict}"
    )


def _elsewhere(others: Sequence[Elsewhere]) -> str:
    rows = "\n".join(
        f"| {each.set} | {each.label} | {_part(each.flagged, each.negatives)} "
        f"| {_part(each.found, each.positives)} |"
        for each in others
    )
    return f"""## Footage from elsewhere

Sets that were learnt from beside the one above. A fold of them was left out of every network, by source; here
is what the networks say of it at the threshold. They are no measure of quality on these sets, but of false
alarms where nobody filmed what the model was made for.

| set | label | false alarms | found |
|---|---|---|---|
{rows}{"".join(_left_out(each) for each in others if each.left_out)}"""


def _left_out(found: Elsewhere) -> str:
    return (
        f"\n\nOf {found.set}, {found.left_out} more videos do not count for {found.label}: the network that "
        "scored them had learnt from others of their source."
    )


def _part(share: float | None, of: int) -> str:
    return "" if share is None else f"{share:.0%} of {of}"


def _speed(speeds: Sequence[Speed]) -> str:
    rows = "\n".join(
        f"| {speed.variant} | {speed.provider} | {speed.threads} | {speed.median_ms_per_clip:.1f} "
        f"| {speed.least_ms_per_clip:.1f} |"
        for speed in speeds
    )
    return f"""## Speed

Milliseconds a clip, one clip at a time, on the machine that trained (its other work not kept away).

| variant | provider | threads | median | least |
|---|---|---|---|---|
{rows}"""


def _limits(found: Figures) -> str:
    return f"""## Limits

{found.videos} videos of {found.sources} sources: figures on other footage will differ, mostly for the worse.
The probabilities hold at the training set's prevalence; a policy states production's and they are corrected.
Use the model to order and to escalate, not as the only ground for a decision about a person."""


def _range(interval: tuple[float, float], form: str) -> str:
    return f"{form.format(interval[0])} to {form.format(interval[1])}"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.0%}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
