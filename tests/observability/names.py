"""What queries may ask for: the names and labels of the metrics as the worker exposes them."""

from __future__ import annotations

import re

from prometheus_client.parser import text_string_to_metric_families

from tests.telemetry.everything import say_everything
from worker.telemetry.metrics import Metrics

SELECTOR = re.compile(r"\b(sluice_(?!pool\b)[a-z_]+)(?:\{([^}]*)\})?")
MATCHER = re.compile(r'([a-z_]+)\s*(?:=~|!~|!=|=)\s*"[^"]*"')
GROUPING = re.compile(r"\b(?:by|on|ignoring|group_left)\s*\(([^)]*)\)")
FROM_OUTSIDE = {"pod", "instance", "namespace", "sluice_pool", "le"}
"""Labels that Prometheus and the chart's monitors add, and the buckets'."""


def known() -> dict[str, set[str]]:
    """Name of each sample -> its labels, of a worker to which everything has happened once."""
    metrics = Metrics()
    say_everything(metrics)
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(metrics.exposition().decode()):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def unknown_in(query: str, samples: dict[str, set[str]]) -> list[str]:
    """What a query asks for that no worker has: metrics, labels of selectors, labels of groupings."""
    wrong, labels = [], set(FROM_OUTSIDE)
    for name, matchers in SELECTOR.findall(query):
        if name not in samples:
            wrong.append(name)
            continue
        labels |= samples[name]
        asked = set(MATCHER.findall(matchers))
        wrong += [f"{name}{{{label}}}" for label in asked - samples[name] - FROM_OUTSIDE]
    for names in GROUPING.findall(query):
        grouped = {name.strip() for name in names.split(",") if name.strip()}
        wrong += [f"by ({label})" for label in grouped - labels]
    return wrong
