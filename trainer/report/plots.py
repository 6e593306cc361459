"""The pictures of a report, with matplotlib. Colours are Okabe and Ito's, safe for the colour-blind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from trainer.evaluation.judge import Judged
from trainer.evaluation.summary import HEAVY, Summary
from trainer.metrics import confusion, pr_curve, roc_curve

BLUE, ORANGE, GREEN, RED, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#777777"
LINES: dict[str, dict[str, Any]] = {  # the rest, which are baselines, are grey
    "filter alone": {"color": BLUE},
    "cascade": {"color": ORANGE, "linewidth": 2.2},
    HEAVY: {"color": GREEN},
}
DASHES = ("--", "-.", (0, (1, 1)))
BINS = 10
STYLE: Any = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "axes.axisbelow": True,
    "legend.frameon": False,
}

Draw = Callable[[Axes, Summary], str]


def draw_all(summary: Summary, folder: Path) -> dict[str, str]:
    """Write a PNG for each picture; returns its alternative text by file name."""
    pictures: dict[str, Draw] = {
        "roc.png": _roc,
        "precision-recall.png": _precision_recall,
        "scores.png": _scores,
        "confusion.png": _confusion,
    }
    if summary.models:
        pictures |= {"reliability.png": _reliability, "folds.png": _folds}
    if summary.together is not None:
        pictures["cost-recall.png"] = _cost_recall
    texts = {}
    with mpl.rc_context(STYLE):
        for name, draw in pictures.items():
            figure, axes = plt.subplots(figsize=(5.4, 4.2), layout="constrained")
            texts[name] = draw(axes, summary)
            figure.savefig(folder / name, dpi=160)
            plt.close(figure)
    return texts


def _roc(axes: Axes, summary: Summary) -> str:
    axes.plot([0, 1], [0, 1], color="#bbbbbb", linestyle=":", label="chance")
    for name, style in _styles(summary).items():
        axes.plot(*roc_curve(summary.truth, summary.scores[name]), label=name, **style)
    axes.set(title="ROC", xlabel="false alarms (share of negatives)", ylabel="recall (share of positives)")
    axes.legend(loc="lower right")
    aucs = ", ".join(f"{row.name} {row.auc:.3f}" for row in summary.rows)
    return f"ROC curves; area under each: {aucs}; chance 0.5."


def _styles(summary: Summary) -> dict[str, dict[str, Any]]:
    """Of each row's line."""
    rest = [name for name in summary.scores if name not in LINES and name != _last(summary)]
    grey = {name: {"color": GREY, "linestyle": dash} for name, dash in zip(rest, DASHES, strict=False)}
    return {name: LINES.get(name, grey.get(name, {"color": BLUE})) for name in summary.scores}


def _precision_recall(axes: Axes, summary: Summary) -> str:
    share = float(summary.truth.mean())
    axes.axhline(share, color="#bbbbbb", linestyle=":", label="chance")
    for name, style in _styles(summary).items():
        axes.plot(*pr_curve(summary.truth, summary.scores[name]), label=name, **style)
    axes.set(title="Precision and recall", xlabel="recall (share of positives)", ylabel="precision")
    axes.set_ylim(0, 1.02)
    axes.legend(loc="lower left")
    each = ", ".join(f"{row.name} {row.average_precision:.3f}" for row in summary.rows)
    return f"Precision against recall; average precision: {each}; chance {share:.2f}."


def _reliability(axes: Axes, summary: Summary) -> str:
    name, judged = _first(summary)
    own = summary.scores.get(name, summary.scores.get("filter alone"))
    assert own is not None
    axes.plot([0, 1], [0, 1], color=GREY, linestyle=":", label="perfect")
    for scores, colour, marker, label in (
        (summary.raw[name], ORANGE, "o", "before calibration"),
        (own, BLUE, "s", "after"),
    ):
        parts = np.array_split(np.argsort(scores, kind="stable"), min(BINS, len(scores)))
        means = [float(scores[part].mean()) for part in parts]
        shares = [float(summary.truth[part].mean()) for part in parts]
        axes.plot(means, shares, color=colour, marker=marker, label=label)
    axes.set(title=f"Reliability of {name}", xlabel="predicted probability", ylabel="share of positives")
    axes.legend(loc="upper left")
    found = judged.figures
    return (
        f"Share of positives against predicted probability of {name}; expected calibration error before "
        f"calibration {found.calibration_error_before:.3f}, after {found.calibration_error_after:.3f}."
    )


def _scores(axes: Axes, summary: Summary) -> str:
    name = _last(summary)
    bins = np.linspace(0, 1, 21).tolist()
    for value, colour, hatch, label in ((0, BLUE, "", "negative"), (1, ORANGE, "//", "positive")):
        chosen = summary.scores[name][summary.truth == value]
        axes.hist(chosen, bins, color=colour, alpha=0.6, hatch=hatch, edgecolor="white", label=label)
    axes.axvline(0.5, color=GREY, linestyle=":", label="threshold")
    axes.set(title=f"Scores of {name}", xlabel="calibrated probability", ylabel="videos")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.margins(y=0.25)  # room for the legend
    axes.legend(loc="upper center", ncols=3)
    return f"Histogram of {name}'s probabilities for negative and positive videos."


def _confusion(axes: Axes, summary: Summary) -> str:
    name = _last(summary)
    negative, false, missed, found = confusion(summary.truth, summary.scores[name])
    table = np.array([[negative, false], [missed, found]])
    axes.imshow(table, cmap="Blues", vmin=0, vmax=table.max() * 1.4)
    for (row, column), count in np.ndenumerate(table):
        axes.text(column, row, f"{count}", ha="center", va="center", fontsize=16)
    axes.grid(visible=False)
    axes.set_xticks([0, 1], ["no", "yes"])
    axes.set_yticks([0, 1], ["no", "yes"])
    axes.set(title=f"Videos by {name}", xlabel=f"said to be {summary.label}", ylabel="truth")
    counts = f"{negative} true negatives, {false} false alarms, {missed} missed, {found} found"
    return f"Confusion of {name}: {counts}."


def _folds(axes: Axes, summary: Summary) -> str:
    width = 0.8 / len(summary.models)
    for place, (spec, judged) in enumerate(summary.models):
        by_fold = judged.figures.accuracy_by_fold
        at = np.arange(len(by_fold)) + place * width
        axes.bar(at, list(by_fold.values()), width * 0.95, color=(BLUE, GREEN)[place], label=spec.name)
        axes.set_xticks(np.arange(len(by_fold)) + width * (len(summary.models) - 1) / 2, list(by_fold))
    axes.axhline(summary.chance, color="#bbbbbb", linestyle=":", label="chance")
    axes.set(title="Each fold", xlabel="fold (sources that training did not see)", ylabel="accuracy")
    axes.set_ylim(0, 1.25)
    axes.set_yticks(np.linspace(0, 1, 6))
    axes.legend(loc="upper center", ncols=3, fontsize=8)
    return "Held-out accuracy of each fold."


def _cost_recall(axes: Axes, summary: Summary) -> str:
    together = summary.together
    assert together is not None
    costs = [100 * point.cost for point in together.curve]
    axes.scatter(
        costs,
        [point.recall_at_5_percent_false_alarms for point in together.curve],
        s=14,
        color=GREY,
        alpha=0.5,
        label="every band",
    )
    for name, colour, marker in (
        ("filter alone", BLUE, "o"),
        ("cascade", ORANGE, "D"),
        (HEAVY, GREEN, "s"),
    ):
        row = next(row for row in summary.rows if row.name == name)
        cost = 100 * (row.cost or 0.0)
        axes.scatter(
            [cost], [row.recall_at_5_percent_false_alarms], s=70, color=colour, marker=marker, label=name
        )
    axes.axvline(100 * together.target.cost, color=RED, linestyle="--", label="allowed cost")
    axes.axhline(0.05, color="#bbbbbb", linestyle=":", label="chance")
    axes.set(
        title="Cost and recall",
        xlabel="cost (% of the escalation on every clip)",
        ylabel="recall at 5 % false alarms",
    )
    axes.set_ylim(0, 1.02)
    axes.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=3)
    return "Recall at 5 % false alarms against the cost of every uncertainty band, with both models alone."


def _first(summary: Summary) -> tuple[str, Judged]:
    spec, judged = summary.models[0]
    return spec.name, judged


def _last(summary: Summary) -> str:
    """The system that is served: the cascade where there is one."""
    return "cascade" if "cascade" in summary.scores else [*summary.scores][-1]
