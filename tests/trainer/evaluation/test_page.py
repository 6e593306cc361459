"""The documentation's table of the cascade is that of the artifacts and baselines that are committed."""

from __future__ import annotations

from pathlib import Path

from trainer.evaluation.held_out import read_held_out
from trainer.evaluation.page import MARKER, cascade_table
from trainer.evaluation.summary import read_artifact, summarise
from trainer.zoo.table import filled

CHECKOUT = Path(__file__).resolve().parents[3]
BASELINES = ("frozen-differences", "metadata")


def test_the_documentation_shows_what_ships() -> None:
    artifacts = CHECKOUT / "models" / "artifacts"
    light, heavy = (
        read_artifact(max((artifacts / name).iterdir()))
        for name in ("violence-filter", "violence-escalation")
    )
    results = CHECKOUT / "benchmarks" / "results" / "baselines"
    baselines = {name.replace("-", " "): read_held_out(results / f"{name}.json") for name in BASELINES}
    table = cascade_table(summarise(light, heavy, baselines))
    page = (CHECKOUT / "docs" / "evaluation.md").read_text()
    assert filled(page, {MARKER: table}) == page, "run `sluice evaluate ... --page docs/evaluation.md`"
