"""What may be imported where, beyond what import-linter says."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WORKER = ROOT / "worker"

# Vendor client -> the only places in the worker that import it.
HOMES = {
    "kafka": ("worker/stream/client/",),
    "redis": ("worker/cache.py",),
    "av": ("worker/media/",),
    "onnxruntime": ("worker/inference/session.py", "worker/inference/buffers.py"),
    "httpx": ("worker/media/",),
    "boto3": ("worker/media/",),
    "faiss": ("worker/similarity.py",),
    "opentelemetry": ("worker/telemetry/traces.py",),
    "prometheus_client": (
        "worker/telemetry/declared.py",
        "worker/telemetry/metrics.py",
        "worker/telemetry/scrape.py",
    ),
}


def imported_by(file: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return names


@pytest.mark.parametrize("vendor", sorted(HOMES))
def test_a_vendor_client_has_one_home(vendor: str) -> None:
    importers = {str(file.relative_to(ROOT)) for file in WORKER.rglob("*.py") if vendor in imported_by(file)}
    assert importers, f"{vendor} is not imported at all: the table is out of date"
    assert [name for name in importers if not name.startswith(HOMES[vendor])] == []


def test_the_worker_never_imports_torch() -> None:
    modules = [
        ".".join(file.relative_to(ROOT).with_suffix("").parts)
        for file in sorted(WORKER.rglob("*.py"))
        if file.name != "__init__.py"
    ]
    program = (
        f"import importlib, sys\nfor name in {modules!r}: importlib.import_module(name)\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules} & {'torch', 'trainer', 'onnx'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_no_file_is_too_long_to_read() -> None:
    python = [file for top in ("worker", "models", "trainer", "tests") for file in (ROOT / top).rglob("*.py")]
    lengths = {str(file.relative_to(ROOT)): len(file.read_text().splitlines()) for file in python}
    assert {name: lines for name, lines in lengths.items() if lines > 400} == {}
