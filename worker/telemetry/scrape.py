"""Reads what workers answer on /metrics and /readyz, and what happened between two readings."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from prometheus_client.parser import text_string_to_metric_families

Labels = frozenset[tuple[str, str]]
Samples = Mapping[str, Mapping[Labels, float]]  # name -> labels -> value


@dataclass(frozen=True, slots=True)
class Reading:
    """One worker at one moment."""

    at_s: float  # monotonic
    samples: Samples = field(repr=False)
    failing: str = ""  # what /readyz complains about; empty: ready


def read_worker(address: str, timeout_s: float) -> Reading:
    """``address``: host:port. Raises OSError when nothing of use answers there."""
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=timeout_s) as answer:
        samples = parse(answer.read().decode("utf-8", "replace"))
    return Reading(time.monotonic(), samples, _failing(address, timeout_s))


def parse(text: str) -> Samples:
    """Raises OSError for what is not the text of metrics: somebody else listens there."""
    found: dict[str, dict[Labels, float]] = {}
    try:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                found.setdefault(sample.name, {})[frozenset(sample.labels.items())] = sample.value
    except ValueError as error:
        raise OSError(f"no metrics: {error}") from error
    return found


@dataclass(frozen=True, slots=True)
class Window:
    """What one worker did between two readings; without the first one, since it started."""

    before: Reading | None
    after: Reading

    @property
    def seconds(self) -> float:
        """Between the two; 0.0 when there is only one."""
        return self.after.at_s - self.before.at_s if self.before else 0.0

    def increases(self, name: str) -> dict[Labels, float]:
        """Of a counter, by its labels. One that has fallen began again at 0."""
        earlier = self.before.samples.get(name, {}) if self.before else {}
        found = {}
        for labels, value in self.after.samples.get(name, {}).items():
            was = earlier.get(labels, 0.0)
            found[labels] = value - was if value >= was else value
        return found


@dataclass(frozen=True, slots=True)
class Summed:
    """What several workers did in their windows, together."""

    windows: Sequence[Window]

    def increase(self, name: str, **wanted: str) -> float:
        return sum(self._by(name, lambda labels: "", wanted).values())

    def increase_by(self, name: str, label: str, **wanted: str) -> dict[str, float]:
        return self._by(name, lambda labels: labels.get(label, ""), wanted)

    def rate(self, name: str, **wanted: str) -> float:
        """A second. Each worker counts over its own window."""
        return sum(
            Summed([window]).increase(name, **wanted) / window.seconds
            for window in self.windows
            if window.seconds > 0
        )

    def gauge(self, name: str, **wanted: str) -> float:
        return sum(
            value
            for window in self.windows
            for labels, value in window.after.samples.get(name, {}).items()
            if wanted.items() <= labels
        )

    def share(self, name: str, of: str, **wanted: str) -> float | None:
        """None when there was nothing to have a share of."""
        total = self.increase(of)
        return self.increase(name, **wanted) / total if total else None

    def quantile_s(self, histogram: str, q: float, **wanted: str) -> float | None:
        """As Prometheus' histogram_quantile: linear within a bucket. None without an observation."""
        buckets = self._by(f"{histogram}_bucket", lambda labels: labels["le"], wanted)
        return quantile({float(upper): count for upper, count in buckets.items()}, q)

    def _by(
        self, name: str, key: Callable[[dict[str, str]], str], wanted: Mapping[str, str]
    ) -> dict[str, float]:
        found: Counter[str] = Counter()
        for window in self.windows:
            for labels, increase in window.increases(name).items():
                if wanted.items() <= labels:
                    found[key(dict(labels))] += increase  # type: ignore[assignment]
        return dict(found)


def quantile(buckets: Mapping[float, float], q: float) -> float | None:
    """``buckets``: upper edge -> observations at or below it, the infinite edge among them."""
    edges = sorted(buckets)
    if not edges or buckets[edges[-1]] == 0:
        return None
    rank = q * buckets[edges[-1]]
    if rank <= buckets[edges[0]]:
        return edges[0] * rank / buckets[edges[0]] if buckets[edges[0]] else edges[0]
    for lower, upper in pairwise(edges):
        if rank <= buckets[upper]:
            if upper == float("inf"):
                return lower
            within = (rank - buckets[lower]) / (buckets[upper] - buckets[lower])
            return lower + (upper - lower) * within
    return edges[-1]


def _failing(address: str, timeout_s: float) -> str:
    try:
        with urllib.request.urlopen(f"http://{address}/readyz", timeout=timeout_s):
            return ""
    except urllib.error.HTTPError as error:
        with error:
            return ", ".join(_complaints(error.read()))


def _complaints(body: bytes) -> Iterable[str]:
    try:
        checks = json.loads(body)["checks"]
        return [f"{name}: {said}" for name, said in checks.items() if said != "ok"]
    except (ValueError, KeyError, TypeError, AttributeError):
        return ["not ready"]
