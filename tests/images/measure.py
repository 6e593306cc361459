"""How large an image is and what makes it so, and how long a change of code takes to become one."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.containers import images
from tests.images.run import run
from tests.parts import CHECKOUT

BASE = "Debian, Python, tini"
OTHERS = "others"
LEAST_SHARE = 0.01  # of the image; smaller parts are added up

# Runs inside: a distribution is what one line of requirements/*.txt brings.
LIST_PARTS = """
import json
from importlib.metadata import distributions
sizes = {}
for each in distributions():
    files = (file.locate() for file in each.files or ())
    sizes[each.name] = sum(file.lstat().st_size for file in files if file.is_file())
print(json.dumps(sizes))
"""


def measured(
    target: str, scripts: Path | None, environment: Mapping[str, str], say: Callable[[str], object]
) -> dict[str, Any]:
    """Build a target, hand it to the engine, and measure it."""
    say(f"building {target}")
    rebuild_s = time_rebuild(target, scripts)
    tag = images.build(target, scripts)
    if scripts is not None:
        images.load(tag, scripts, environment)
    inspect = ["docker", "image", "inspect", "-f", "{{.Size}}", tag]
    size_bytes = int(subprocess.run(inspect, check=True, capture_output=True, env=environment).stdout)
    code, output = run(tag, "-c", LIST_PARTS, entrypoint="python", environment=environment)
    assert code == 0, output
    return {
        "bytes": size_bytes,
        "parts": large_parts(size_bytes, json.loads(output)),
        "rebuild_s": round(rebuild_s, 1),
    }


def large_parts(size_bytes: int, distributions: Mapping[str, int]) -> dict[str, int]:
    """The largest first; then what is small, as one, and what no distribution brought."""
    ordered = sorted(distributions.items(), key=lambda item: -item[1])
    large = {name: size for name, size in ordered if size >= LEAST_SHARE * size_bytes}
    packages = sum(distributions.values())
    return {**large, OTHERS: packages - sum(large.values()), BASE: size_bytes - packages}


def time_rebuild(target: str, scripts: Path | None) -> float:
    """Seconds from a change of the code, as it is committed, to the image; its layers were built before."""
    with tempfile.TemporaryDirectory(prefix="sluice-context-") as folder:
        context = Path(folder)
        archive = subprocess.run(["git", "archive", "HEAD"], cwd=CHECKOUT, check=True, capture_output=True)
        subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
        images.build(target, scripts, context)
        with (context / "worker" / "__init__.py").open("a") as file:
            file.write(f"\n# changed at {time.time()}\n")
        started_s = time.monotonic()
        images.build(target, scripts, context)
        return time.monotonic() - started_s
