"""Writes the table of docs/reliability.md out of benchmarks/results/drills.

python -m tests.drills.table
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks import report
from tests.drills.catalogue import DRILLS, EVERY
from tests.drills.stage import Size
from trainer.pages import RIGHT, filled, markdown

RESULTS = report.RESULTS / "drills"
PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
COLUMNS = {
    "Fault": "---",
    "Injected": "---",
    "Broker": "---",
    "In": RIGHT,
    "Result": "---",
    "Longest gap, s": RIGHT,
    "Recovered in, s": RIGHT,
}


def page() -> str:
    """docs/reliability.md as the committed results have it."""
    return filled(PAGE.read_text(), {"drills": table(list(_results()))})


def table(results: list[Mapping[str, Any]]) -> str:
    return markdown(list(COLUMNS), list(COLUMNS.values()), [_row(found) for found in results])


def file_name(drill: str, size: Size) -> str:
    """Without its ending."""
    return drill if size is Size.NORMAL else f"{drill}-{size.value}"


def _results() -> Iterator[Mapping[str, Any]]:
    for drill in DRILLS:
        for kind in EVERY:
            for size in (Size.NORMAL, Size.LONG):
                path = RESULTS / kind / f"{file_name(drill.name, size)}.json"
                if path.exists():
                    yield json.loads(path.read_text())


def _row(found: Mapping[str, Any]) -> list[str]:
    if "ledger" not in found:
        return [found["fault"], "", found["broker"], "", "; ".join(found["failures"]), "", ""]
    ledger = found["ledger"]
    records = [f"{ledger['uploads_in']} uploads"]
    if ledger["unreadable_in"]:
        records.append(f"{ledger['unreadable_in']} unreadable")
    recovered = f"{found['recovered_s']:.1f}" if found["all_recovered_s"] else ""
    return [
        found["fault"],
        found["injected"],
        found["broker"],
        ", ".join(records),
        _result(found),
        f"{found['longest_gap_s']:.1f}",
        recovered,
    ]


def _result(found: Mapping[str, Any]) -> str:
    ledger = found["ledger"]
    said = [f"**{failure}**" for failure in found["failures"]] or ["all answered, once"]
    if ledger["repeats"]:
        said.append(f"{ledger['repeats']} repeats")
    said += [f"{count} `review`, {reason}" for reason, count in ledger["unneeded_reviews"].items()]
    if ledger["judged_in_several_ways"]:
        said.append(f"{ledger['judged_in_several_ways']} judged in two ways")
    if found["restarts"]:
        said.append(f"{found['restarts']} workers stopped by themselves")
    return "; ".join([*said, *map(_target, found["targets"])])


def _target(target: Mapping[str, Any]) -> str:
    missed = "" if target["is_met"] else " **missed**"
    return f"{target['name']}: {target['value']:g} of {target['at_most']:g}{missed}"


if __name__ == "__main__":
    PAGE.write_text(page())
