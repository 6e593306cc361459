"""Writes the tables of docs/hostile-input.md: ``python -m tests.hostile.page``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.report import RESULTS
from trainer.pages import figures, filled

PAGE = Path(__file__).parents[2] / "docs" / "hostile-input.md"
Results = Mapping[str, Any]


def outcomes(results: Results) -> str:
    """What came of the corpus and of the mutations."""
    runs = {"corpus": results["corpus"], "mutations": results["mutations"]}
    reasons = list(dict.fromkeys(reason for run in runs.values() for reason in run["outcomes"]))
    rows = [["uploads", *(run["uploads"] for run in runs.values())]]
    rows += [
        [f"`{reason}`", *(run["outcomes"].get(reason, 0) for run in runs.values())] for reason in reasons
    ]
    rows += [
        [
            "exceptions, hangs, verdicts that were not earned",
            *(len(run["problems"]) for run in runs.values()),
        ],
        ["slowest, s", *(run["slowest_s"] for run in runs.values())],
        ["growth of the worker, bytes an upload", *(run["growth_bytes_per_upload"] for run in runs.values())],
    ]
    return figures(["", *runs], rows)


def crowd(results: Results) -> str:
    return figures(
        ["beside them", "good uploads", "judged", "p50, ms", "p99, ms", "bad ones answered a second"],
        ([name, *row.values()] for name, row in results["scenes"].items()),
    )


TABLES = {"hostile": outcomes, "hostile_crowd": crowd}


def page() -> str:
    """The page as the committed results have it."""
    made = {
        name.replace("_", "-"): table(json.loads((RESULTS / f"{name}.json").read_text()))
        for name, table in TABLES.items()
    }
    return filled(PAGE.read_text(), made)


def write() -> None:
    PAGE.write_text(page())


if __name__ == "__main__":
    write()
