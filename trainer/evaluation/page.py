"""What a summary says, as a table for a page of the documentation."""

from __future__ import annotations

from trainer.evaluation.summary import Comparison, Row, Summary
from trainer.pages import RIGHT, markdown

MARKER = "cascade"


def cascade_table(summary: Summary) -> str:
    """Markdown: every way of judging the videos, then the differences of the cascade's from simpler ones'."""
    head = ["", "Accuracy", "AUC", "Recall", "Unneeded review", "Cost"]
    rows = [_row(row) for row in summary.rows]
    rows.append(["chance", f"{summary.chance:.1%}", "0.500", "", "", ""])
    said = f"{summary.videos} videos of {summary.sources} sources, each by networks that never saw its fold."
    gained = [_gain(each) for each in summary.comparisons if each.of == "cascade"]
    parts = [said, markdown(head, ["---", *[RIGHT] * 5], rows)]
    if summary.together:
        parts += [f"{summary.together.verdict} Less others, on the same drawn sources: {'; '.join(gained)}."]
    return "\n\n".join(parts)


def _row(row: Row) -> list[str]:
    low, high = row.accuracy_interval
    least, most = row.auc_interval
    served = [row.recall, row.unneeded_review, row.cost]
    return [
        row.name,
        f"{row.accuracy:.1%} ({low:.1%} to {high:.1%})",
        f"{row.auc:.3f} ({least:.3f} to {most:.3f})",
        *("" if value is None else f"{value:.1%}" for value in served),
    ]


def _gain(comparison: Comparison) -> str:
    low, high = comparison.difference.interval
    return (
        f"{comparison.figure} less {comparison.less} {comparison.difference.value:+.3f} "
        f"({low:+.3f} to {high:+.3f})"
    )
