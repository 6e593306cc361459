"""Helm itself, in a process of its own.

Its library brings the runtime of Go, with threads and signal handlers that have no place in a process which
forks and kills others all day.
"""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

Values = dict[str, Any]


class Refused(Exception):
    """What Helm said about the values or the chart."""


def render(chart: Path, values: Values, name: str, namespace: str) -> dict[str, str]:
    """Path of each template -> what it gives. Raises Refused."""
    return _process().submit(_render, chart, values, name, namespace).result()


def lint(chart: Path, values: Values, namespace: str) -> dict[str, Any]:
    """`errors`, and `messages` with `severity` and `path`."""
    return _process().submit(_lint, chart, values, namespace).result()


@cache
def _process() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))


# In the process.


def _render(chart: Path, values: Values, name: str, namespace: str) -> dict[str, str]:
    import helm_python

    try:
        return dict(_loaded(chart).render(values, name=name, namespace=namespace))
    except helm_python.HelmError as error:
        raise Refused(str(error)) from None


def _lint(chart: Path, values: Values, namespace: str) -> dict[str, Any]:
    import helm_python

    return dict(helm_python.lint(chart, values, strict=True, namespace=namespace))


@cache
def _loaded(chart: Path) -> Any:
    import helm_python

    return helm_python.Chart.load(chart)
