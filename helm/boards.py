"""Grafana's dashboards from ``panels.yaml``; ``python -m helm.generate`` writes them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).resolve().parent
TITLES = {"operations": "operations", "quality": "quality and drift", "cost": "cost"}
SELECTED = 'namespace=~"$namespace",sluice_pool=~"$pool",instance=~"$worker"'
WIDTH, HEIGHT = 8, 8  # of a panel, in Grafana's grid of 24 columns


@dataclass(frozen=True, slots=True)
class Panel:
    title: str
    about: str  # what it shows and what to do; the panel's description
    queries: dict[str, str]  # legend -> PromQL
    unit: str = "short"  # Grafana's name of it
    kind: str = "timeseries"
    stacked: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    title: str
    panels: tuple[Panel, ...]


def boards() -> dict[str, tuple[Row, ...]]:
    """Name -> rows."""
    read = yaml.safe_load((CHART / "panels.yaml").read_text())
    return {
        name: tuple(Row(row["row"], tuple(Panel(**panel) for panel in row["panels"])) for row in rows)
        for name, rows in read.items()
    }


def files() -> dict[Path, str]:
    """Path -> Grafana's JSON."""
    return {
        CHART / "dashboards" / f"{name}.json": json.dumps(grafana(name, rows), indent=1) + "\n"
        for name, rows in boards().items()
    }


def grafana(name: str, rows: tuple[Row, ...]) -> dict[str, Any]:
    return {
        "uid": f"sluice-{name}",
        "title": f"Sluice: {TITLES[name]}",
        "tags": ["sluice"],
        "schemaVersion": 41,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [_datasource(), *_variables()]},
        "panels": list(_laid_out(rows)),
    }


def selecting(query: str, matchers: str) -> str:
    """``matchers`` in every {} of a metric, before those that are there."""
    return re.sub(r"(sluice_[a-z_]+)\{", rf"\1{{{matchers},", query).replace(",}", "}")


def _laid_out(rows: tuple[Row, ...]) -> Iterator[dict[str, Any]]:
    top, number = 0, 0
    for row in rows:
        number += 1
        place = {"h": 1, "w": 3 * WIDTH, "x": 0, "y": top}
        yield {
            "id": number,
            "type": "row",
            "title": row.title,
            "collapsed": False,
            "panels": [],
            "gridPos": place,
        }
        for column, panel in enumerate(row.panels):
            number += 1
            place = {"h": HEIGHT, "w": WIDTH, "x": column * WIDTH, "y": top + 1}
            yield {"id": number, "gridPos": place, **_panel(panel)}
        top += 1 + HEIGHT


def _panel(panel: Panel) -> dict[str, Any]:
    source = {"type": "prometheus", "uid": "$datasource"}
    over_time = panel.kind == "timeseries"
    targets = [
        {
            "refId": chr(ord("A") + number),
            "datasource": source,
            "expr": selecting(query, SELECTED),
            "legendFormat": legend,
            "instant": not over_time,
            "range": over_time,
            "format": "table" if panel.kind == "table" else "time_series",
        }
        for number, (legend, query) in enumerate(panel.queries.items())
    ]
    drawn = {"stacking": {"mode": "normal"}, "fillOpacity": 40} if panel.stacked else {"fillOpacity": 10}
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.about,
        "datasource": source,
        "targets": targets,
        "fieldConfig": {
            "defaults": {"unit": panel.unit, "min": 0, "custom": drawn if over_time else {}},
            "overrides": [],
        },
    }


def _datasource() -> dict[str, Any]:
    return {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}


def _variables() -> Iterator[dict[str, Any]]:
    """`All` matches a label that is not there as well: outside of Kubernetes there is no namespace."""
    for name, label in (("namespace", "namespace"), ("pool", "sluice_pool"), ("worker", "instance")):
        yield {
            "name": name,
            "type": "query",
            "datasource": {"type": "prometheus", "uid": "$datasource"},
            "query": f"label_values(sluice_partitions_assigned, {label})",
            "refresh": 2,
            "multi": True,
            "includeAll": True,
            "allValue": ".*",
            "current": {"text": "All", "value": "$__all"},
        }
