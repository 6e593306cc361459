"""Writes the tables of docs/deploy.md out of benchmarks/results/cluster.json.

    python -m tests.cluster.table

The file is what `make test-cluster CLUSTER_ARGS="--results benchmarks/results/cluster.json"` measured. A
table stands between ``<!-- table NAME -->`` and ``<!-- end of table NAME -->``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks.report import RESULTS
from tests.parts import CHECKOUT
from trainer.zoo.table import RIGHT, filled, markdown

PAGE = CHECKOUT / "docs" / "deploy.md"
FILE = RESULTS / "cluster.json"

DRILL = {
    "took_s": "until all is as before, s",
    "uploads": "uploads",
    "longest_gap_s": "longest time without a verdict, s",
    "slowest_s": "slowest upload, s",
    "written_twice": "verdicts written twice",
}
SCALING = {
    "uploads": "uploads, most of them at once",
    "to_three_workers_s": "three workers after, s",
    "drained_s": "all answered after, s",
    "to_one_worker_s": "one worker again after, s",
    "written_twice": "verdicts written twice",
}


def page() -> str:
    """docs/deploy.md as the committed results have it."""
    found = json.loads(FILE.read_text())
    machine = f"{found['machine']['cores']} cores ({found['machine']['cpu']}), everything on one machine"
    tables = {
        "drills": f"{machine}; `helm install --wait` took {found['install_s']} s.\n\n"
        + _table("what is done", DRILL, found["drills"].items()),
        "scaling": _table("", SCALING, [("KEDA, one to three workers", found["scaling"])]),
    }
    return filled(PAGE.read_text(), tables)


def _table(first: str, columns: Mapping[str, str], rows: Iterable[tuple[str, Mapping[str, Any]]]) -> str:
    cells: Sequence[Sequence[str]] = [[name, *(str(row[key]) for key in columns)] for name, row in rows]
    return markdown([first, *columns.values()], ["---", *[RIGHT] * len(columns)], cells)


if __name__ == "__main__":
    PAGE.write_text(page())
