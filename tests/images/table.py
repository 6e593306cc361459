"""The table of the images in docs/deploy.md, out of what `make test-images` measured."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from benchmarks.report import RESULTS
from trainer.pages import RIGHT, markdown

FILE = RESULTS / "images.json"
MB = 1_000_000


def table() -> str:
    found = json.loads(FILE.read_text())
    machine = f"{found['machine']['cores']} cores ({found['machine']['cpu']})"
    head = ["image", "MB", "its parts, MB", "from a change of code to the image, s"]
    rows = [
        [f"`{name}`", f"{row['bytes'] / MB:.0f}", _parts(row["parts"]), f"{row['rebuild_s']}"]
        for name, row in found["images"].items()
    ]
    return f"Built by {found['built_by']} on {machine}.\n\n" + markdown(
        head, ["---", RIGHT, "---", RIGHT], rows
    )


def _parts(parts: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {size / MB:.0f}" for name, size in parts.items())
