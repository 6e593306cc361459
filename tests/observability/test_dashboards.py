"""The dashboards are those of panels.yaml, and ask for what workers tell."""

from __future__ import annotations

import json
import re

import pytest
import yaml

from helm.boards import CHART, Panel, boards, files, selecting
from tests.observability.names import known, unknown_in
from tests.observability.test_alerts import promtool, rules

PANELS = [(name, panel) for name, rows in boards().items() for row in rows for panel in row.panels]


def test_the_files_are_what_the_table_says() -> None:
    """`make schemas` writes them."""
    assert {path.name for path in (CHART / "dashboards").iterdir()} == {path.name for path in files()}
    for path, text in files().items():
        assert path.read_text() == text, path.name


@pytest.mark.parametrize(("board", "panel"), PANELS, ids=lambda value: getattr(value, "title", value))
def test_a_panel_asks_for_what_workers_tell(board: str, panel: Panel) -> None:
    assert panel.about
    for legend, query in panel.queries.items():
        assert unknown_in(query, known()) == []
        shown = set(re.findall(r"\{\{(\w+)\}\}", legend))
        grouped = {
            name.strip() for names in re.findall(r"by \(([^)]*)\)", query) for name in names.split(",")
        }
        assert shown <= grouped, "the legend names a label that the query does not keep"


def test_prometheus_understands_every_query(tmp_path_factory: pytest.TempPathFactory) -> None:
    queries = [
        query.replace("$__rate_interval", "5m") for _, panel in PANELS for query in panel.queries.values()
    ]
    rules = [{"record": f"sluice:panel:{number}", "expr": query} for number, query in enumerate(queries)]
    file = tmp_path_factory.mktemp("rules") / "panels.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    assert f"{len(queries)} rules found" in promtool("check", "rules", file)


def test_variables_are_in_every_selector() -> None:
    assert selecting('a(sluice_x{}) / sluice_y_total{z="1"}', 'w="2"') == (
        'a(sluice_x{w="2"}) / sluice_y_total{w="2",z="1"}'
    )
    for text in files().values():
        for panel in json.loads(text)["panels"]:
            for target in panel.get("targets", ()):
                metrics = re.findall(r"sluice_[a-z_]+\{", target["expr"])
                assert len(metrics) == target["expr"].count('instance=~"$worker"') > 0


def test_a_board_fits_grafanas_grid() -> None:
    for text in files().values():
        board = json.loads(text)
        places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in board["panels"]]
        assert len(set(places)) == len(places)
        assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in board["panels"])
        assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])


def test_the_alert_on_drift_and_the_panel_compute_the_same() -> None:
    (panel,) = (panel for _, panel in PANELS if panel.title == "Stability index")
    (alert,) = (rule for rule in rules() if rule["alert"] == "SluiceDrift")
    shown, told = ("".join(text.split()) for text in (panel.queries["{{label}} to last week"], alert["expr"]))
    assert told.startswith(shown)
