"""`make test-images`: build all three images, test those that nothing else starts, and measure them.

    python -m tests.images [--results FILE] [pytest's arguments]

The image with CUDA takes gigabytes to download and to keep.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from benchmarks.report import write
from tests.containers import images
from tests.containers.engine import engine
from tests.images.conftest import BUILT
from tests.images.measure import measured


def main() -> int:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--results", type=Path)
    own, arguments = parser.parse_known_args()
    with engine(say) as (environment, scripts):
        try:
            found = {target: measured(target, scripts, environment, say) for target in images.TAGS}
        except images.BuildFailed as error:
            sys.exit(f"test-images: {error}")
        if own.results is not None:
            by = "Docker" if scripts is None else "buildah"
            write(own.results.stem, {"built_by": by, "images": found}, own.results.parent)
        command = [sys.executable, "-m", "pytest", "-m", "containers", "tests/images", *arguments]
        return subprocess.run(command, env={**environment, BUILT: "1"}, check=False).returncode


def say(what: str) -> None:
    print(f"test-images: {what}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
