"""The init container's script, run for real on real files."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest

from tests.helm.chart import below, ci_values, render

SPEC = b'{"name": "violence-filter"}'
GOOD = hashlib.sha256(SPEC).hexdigest()


def copy_models(folder: Path, files: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run the script with ``folder`` in place of the root."""
    rendered = render(ci_values("models"), {"models": {"files": None}}, below("models.files", files))
    script = rendered.worker()["initContainers"][0]["args"][0]
    sums = folder / "SHA256SUMS"
    sums.write_text(rendered.one("ConfigMap", "-files")["data"]["SHA256SUMS"])
    places = {
        "/etc/sluice/models/SHA256SUMS": sums,
        "/source": folder / "source",
        "/models": folder / "models",
    }
    for inside, here in places.items():
        script = script.replace(inside, str(here))
    (folder / "models").mkdir()
    return subprocess.run(["sh", "-euc", script], capture_output=True, text=True, timeout=10, check=False)


@pytest.fixture
def claim(tmp_path: Path) -> Path:
    version = tmp_path / "source" / "violence-filter" / "0.3.0"
    version.mkdir(parents=True)
    (version / "spec.json").write_bytes(SPEC)
    (version / "not-named.onnx").write_bytes(b"x")
    return tmp_path


def test_what_is_named_is_copied(claim: Path) -> None:
    done = copy_models(claim, {"violence-filter/0.3.0/spec.json": GOOD})
    assert done.returncode == 0, done.stderr
    copied = [path for path in (claim / "models").rglob("*") if path.is_file()]
    assert [path.read_bytes() for path in copied] == [SPEC]


def test_a_wrong_digest_stops_the_pod(claim: Path) -> None:
    done = copy_models(claim, {"violence-filter/0.3.0/spec.json": "0" * 64})
    assert done.returncode != 0
    assert "violence-filter/0.3.0/spec.json: FAILED" in done.stdout
    assert "put the right file on the claim, or the right digest into the values" in done.stderr


def test_a_missing_file_is_named(claim: Path) -> None:
    done = copy_models(claim, {"violence-filter/0.4.0/spec.json": GOOD})
    assert done.returncode != 0
    assert "models.files names violence-filter/0.4.0/spec.json, and the claim has no such file" in done.stderr
