"""Writes the tables of docs/deploy.md out of benchmarks/results/cluster.json and images.json.

    python -m tests.cluster.table

`make test-cluster CLUSTER_ARGS="--burst 300 --results benchmarks/results/cluster.json"` measures the first,
`make test-images` the other. A table stands between ``<!-- table NAME -->`` and
``<!-- end of table NAME -->``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from benchmarks.report import RESULTS
from tests.images import table as images
from tests.parts import CHECKOUT
from trainer.pages import figures, filled

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
    "uploads": "uploads at once",
    "most": "most workers at the same time",
    "all_workers_s": "all of them ready after, s",
    "drained_s": "all answered after, s",
    "one_worker_again_s": "one worker again after, s",
    "twice_up": "written twice while workers came",
    "twice_down": "written twice while workers went",
}


def page() -> str:
    """docs/deploy.md as the committed results have it."""
    found = json.loads(FILE.read_text())
    machine = f"{found['machine']['cores']} cores ({found['machine']['cpu']}), everything on one machine"
    tables = {
        "drills": f"{machine}; `helm install --wait` took {found['install_s']} s.\n\n"
        + _table("what is done", DRILL, found["drills"].items()),
        "scaling": _table("", SCALING, found["scaling"].items()),
        "images": images.table(),
    }
    return filled(PAGE.read_text(), tables)


def _table(first: str, columns: Mapping[str, str], rows: Iterable[tuple[str, Mapping[str, Any]]]) -> str:
    return figures([first, *columns.values()], [[name, *map(row.get, columns)] for name, row in rows])


if __name__ == "__main__":
    PAGE.write_text(page())
