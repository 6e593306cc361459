"""``report.html``, one file with its pictures inside, ``report.json`` and the PNGs."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jinja2

from trainer.evaluation.outside import Mistake
from trainer.evaluation.summary import Served, Summary, read_artifact, summarise
from trainer.report.mistakes import draw_mistakes
from trainer.report.plots import draw_all

PAGE_FILE, FIGURES_FILE = "report.html", "report.json"
REPORT_FOLDER = "report"  # local: git ignores it


def write_report(
    summary: Summary, served: Sequence[Served], folder: Path, mistakes: Sequence[Mistake] = ()
) -> Path:
    """Into ``folder``, which is made; returns the page."""
    folder.mkdir(parents=True, exist_ok=True)
    found = figures(summary)
    (folder / FIGURES_FILE).write_text(json.dumps(found, indent=2) + "\n")
    pictures = _embedded(draw_all(summary, folder), folder)
    sheets = _embedded(draw_mistakes(mistakes, folder), folder)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"percent": _percent, "range_percent": _range_percent, "range": _range}
    page = environment.get_template("page.html").render(
        summary=summary, served=served, pictures=pictures, sheets=sheets
    )
    (folder / PAGE_FILE).write_text(page)
    return folder / PAGE_FILE


def report_on(folder: Path) -> Path:
    """A report of one installed artifact, in its own folder; returns the page."""
    artifact = read_artifact(folder)
    return write_report(summarise(artifact), (artifact,), folder / REPORT_FOLDER)


def _embedded(texts: Mapping[str, str], folder: Path) -> list[tuple[str, str]]:
    """Each picture's alternative text, and itself in base64."""
    return [(text, base64.b64encode((folder / name).read_bytes()).decode()) for name, text in texts.items()]


def figures(summary: Summary) -> dict[str, Any]:
    """What ``report.json`` holds: everything but the scores themselves."""
    return {
        "label": summary.label,
        "videos": summary.videos,
        "sources": summary.sources,
        "positives": summary.positives,
        "chance": summary.chance,
        "models": [
            {"name": spec.name, "version": spec.version, **asdict(judged)} for spec, judged in summary.models
        ],
        "rows": [asdict(row) for row in summary.rows],
        "comparisons": [asdict(each) for each in summary.comparisons],
        "cascade": asdict(summary.together) if summary.together else None,
    }


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f}\N{NO-BREAK SPACE}%"


def _range_percent(interval: tuple[float, float]) -> str:
    return f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f}"


def _range(interval: tuple[float, float], form: str = "{:.3f}") -> str:
    return f"{form.format(interval[0])} to {form.format(interval[1])}"
