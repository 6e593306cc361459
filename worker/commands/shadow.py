"""`sluice shadow report`: what models on trial say, against what was decided."""

from __future__ import annotations

import json
import math
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import click
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from worker.commands.filters import filters, settings_at, within
from worker.messages import Action, Judgement, ShadowComparison

DECISIONS: tuple[Action, ...] = ("allow", "review", "block")
SHOWN = 10  # disagreements
Z_95 = 1.959964


@click.group()
def shadow() -> None:
    """Compare models on trial (settings `shadow.*`) with those that serve."""


@shadow.command()
@filters("since", "until", "broker")
@click.option("--json", "as_json", is_flag=True, help="The same as one JSON object for each pair of models.")
def report(broker: str | None, since: datetime | None, until: datetime | None, as_json: bool) -> None:
    """Sum up what was compared: agreement, decisions, probabilities, time, the widest differences."""
    settings = settings_at(broker)
    wanted = (each for each in _read(settings) if within(each.compared_at, since, until))
    summaries = [summary for group in grouped(wanted) if (summary := summarise(group)) is not None]
    if not summaries:
        raise click.ClickException(
            f"nothing was compared on {settings.shadow.topic}: set `shadow.filter` or `shadow.escalation`, "
            "or widen --since and --until"
        )
    console = Console()
    for summary in summaries:
        if as_json:
            click.echo(json.dumps(asdict(summary)))
        else:
            show(console, summary)


@dataclass(frozen=True, slots=True)
class LabelSummary:
    label: str
    served_mean: float  # of the videos' probabilities
    shadow_mean: float
    mean_difference: float  # absolute
    correlation: float | None  # Pearson's; None: one of them never varies


@dataclass(frozen=True, slots=True)
class Summary:
    served: tuple[str, ...]  # name@version of each model
    shadow: tuple[str, ...]
    since: str
    until: str
    compared: int  # uploads that both have judged
    failed: int  # uploads that the models on trial could not judge
    agreement: float
    agreement_low: float  # 95 %, Wilson's interval
    agreement_high: float
    by_chance: float  # what two that know nothing of each other would agree on, deciding as often as these
    kappa: float | None  # Cohen's (1960); None: both always say the same one thing
    decisions: dict[str, dict[str, int]]  # served -> shadow -> uploads
    labels: tuple[LabelSummary, ...]
    served_ms: float  # median of the models' own time for an upload, without decoding
    shadow_ms: float
    widest: tuple[dict[str, Any], ...]  # of those that disagree, the widest apart first


def grouped(comparisons: Iterable[ShadowComparison]) -> list[list[ShadowComparison]]:
    """One group for each pair of model sets; the one that was seen last comes last."""
    groups: dict[Any, list[ShadowComparison]] = {}
    for each in comparisons:
        pair = (each.served.versions.models, each.shadow.versions.models)
        groups.setdefault(pair, []).append(each)
    return sorted(groups.values(), key=lambda group: max(each.compared_at for each in group))


def summarise(group: Sequence[ShadowComparison]) -> Summary | None:
    """``group``: of the same models. None when the models on trial have judged none of it."""
    # An upload that came twice is one upload.
    latest = {each.upload_id: each for each in sorted(group, key=lambda each: each.compared_at)}
    judged = [each for each in latest.values() if each.shadow.decided_by != "error"]
    if not judged:
        return None
    pairs = Counter((each.served.decision, each.shadow.decision) for each in judged)
    count = len(judged)
    agreement = sum(pairs[each, each] for each in DECISIONS) / count
    low, high = _wilson(agreement, count)
    by_chance = _by_chance(pairs, count)
    moments = sorted(each.compared_at for each in judged)
    return Summary(
        served=_names(judged[0].served),
        shadow=_names(judged[0].shadow),
        since=moments[0].isoformat(timespec="seconds"),
        until=moments[-1].isoformat(timespec="seconds"),
        compared=count,
        failed=len(latest) - count,
        agreement=agreement,
        agreement_low=low,
        agreement_high=high,
        by_chance=by_chance,
        kappa=None if by_chance == 1.0 else (agreement - by_chance) / (1.0 - by_chance),
        decisions={served: {shadow: pairs[served, shadow] for shadow in DECISIONS} for served in DECISIONS},
        labels=tuple(_labels(judged)),
        served_ms=statistics.median(_model_ms(each.served) for each in judged),
        shadow_ms=statistics.median(_model_ms(each.shadow) for each in judged),
        widest=tuple(_widest(judged)),
    )


def show(console: Console, summary: Summary) -> None:
    console.print(f"[bold]{_differing(summary.shadow, summary.served)}[/] on trial beside ", end="")
    console.print(f"[bold]{_differing(summary.served, summary.shadow)}[/]")
    failed = f", {summary.failed} more could not be judged" if summary.failed else ""
    console.print(f"{summary.compared} uploads, {summary.since} to {summary.until}{failed}")
    kappa = "" if summary.kappa is None else f", kappa {summary.kappa:.2f}"
    console.print(
        f"same decision: {summary.agreement:.1%} (95 %: {summary.agreement_low:.1%} to "
        f"{summary.agreement_high:.1%}; by chance {summary.by_chance:.1%}{kappa})"
    )
    console.print(
        f"models' time for an upload, median: {summary.shadow_ms:.0f} ms on trial, "
        f"{summary.served_ms:.0f} ms serving"
    )
    console.print(_decisions_table(summary), "", _labels_table(summary), "")
    if summary.widest:
        console.print(_widest_table(summary), "")


def _read(settings: Any) -> Iterator[ShadowComparison]:
    from worker.stream.client import read_topic
    from worker.stream.types import Record

    for item in read_topic(settings.kafka, settings.shadow.topic):
        if not isinstance(item, Record) or item.value is None:
            continue
        try:
            yield ShadowComparison.model_validate_json(item.value)
        except ValidationError as error:
            click.echo(f"{item.place} is no comparison: {error.errors()[0]['msg']}", err=True)


def _labels(judged: Sequence[ShadowComparison]) -> Iterator[LabelSummary]:
    names = dict.fromkeys(label.name for each in judged for label in each.served.labels)
    for name in names:
        both = [pair for each in judged if (pair := _probabilities(each, name)) is not None]
        if not both:
            continue
        served, shadow = [pair[0] for pair in both], [pair[1] for pair in both]
        varies = len(set(served)) > 1 and len(set(shadow)) > 1
        yield LabelSummary(
            label=name,
            served_mean=statistics.fmean(served),
            shadow_mean=statistics.fmean(shadow),
            mean_difference=statistics.fmean(abs(a - b) for a, b in both),
            correlation=statistics.correlation(served, shadow) if varies else None,
        )


def _widest(judged: Sequence[ShadowComparison]) -> Iterator[dict[str, Any]]:
    apart = []
    for each in judged:
        for name in () if each.agrees else [label.name for label in each.served.labels]:
            pair = _probabilities(each, name)
            if pair is not None:
                apart.append((abs(pair[0] - pair[1]), each, name, pair))
    apart.sort(key=lambda found: (-found[0], found[1].upload_id))
    for _, each, label, (served, shadow) in apart[:SHOWN]:
        yield {
            "upload_id": each.upload_id,
            "served": each.served.decision,
            "shadow": each.shadow.decision,
            "label": label,
            "served_probability": served,
            "shadow_probability": shadow,
        }


def _probabilities(comparison: ShadowComparison, label: str) -> tuple[float, float] | None:
    found = [
        next((each.probability for each in side.labels if each.name == label), None)
        for side in (comparison.served, comparison.shadow)
    ]
    return None if found[0] is None or found[1] is None else (found[0], found[1])


def _wilson(share: float, count: int) -> tuple[float, float]:
    """The score interval of Wilson (1927), 95 %."""
    z2 = Z_95 * Z_95
    centre = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = Z_95 / (1 + z2 / count) * math.sqrt(share * (1 - share) / count + z2 / (4 * count * count))
    return max(0.0, centre - half), min(1.0, centre + half)


def _by_chance(pairs: Counter[tuple[Action, Action]], count: int) -> float:
    served, shadow = Counter[Action](), Counter[Action]()
    for (ours, theirs), uploads in pairs.items():
        served[ours] += uploads
        shadow[theirs] += uploads
    return sum(served[each] * shadow[each] for each in DECISIONS) / count**2


def _model_ms(side: Judgement) -> float:
    return sum(side.timings_ms.get(stage, 0.0) for stage in ("filter", "additional", "escalation"))


def _names(side: Judgement) -> tuple[str, ...]:
    return tuple(f"{model.name}@{model.version}" for model in side.versions.models)


def _differing(names: Sequence[str], others: Sequence[str]) -> str:
    return ", ".join(name for name in names if name not in others) or ", ".join(names)


def _table(title: str | None = None) -> Table:
    return Table(
        title=title, title_justify="left", box=None, header_style="bold", pad_edge=False, padding=(0, 3, 0, 0)
    )


def _decisions_table(summary: Summary) -> Table:
    table = _table()
    table.add_column("decided by the serving models")
    for decision in DECISIONS:
        table.add_column(f"trial: {decision}", justify="right")
    for served, row in summary.decisions.items():
        table.add_row(served, *(_counted(n, served == shadow) for shadow, n in row.items()))
    return table


def _counted(uploads: int, is_agreed: bool) -> str:
    style = "green" if is_agreed else "yellow"
    return f"[{style}]{uploads}[/]" if uploads else "0"


def _labels_table(summary: Summary) -> Table:
    table = _table()
    for name in ("label", "mean serving", "mean on trial", "mean difference", "correlation"):
        table.add_column(name, justify="left" if name == "label" else "right")
    for each in summary.labels:
        correlation = "-" if each.correlation is None else f"{each.correlation:.2f}"
        means = (each.served_mean, each.shadow_mean, each.mean_difference)
        table.add_row(each.label, *(f"{mean:.3f}" for mean in means), correlation)
    return table


def _widest_table(summary: Summary) -> Table:
    table = _table("Widest apart")
    table.add_column("upload", overflow="ellipsis", no_wrap=True, max_width=30)
    for name in ("decisions", "label", "serving", "on trial"):
        table.add_column(name, no_wrap=True)
    for each in summary.widest:
        table.add_row(
            each["upload_id"],
            f"{each['served']} -> {each['shadow']}",
            each["label"],
            f"{each['served_probability']:.2f}",
            f"{each['shadow_probability']:.2f}",
        )
    return table
