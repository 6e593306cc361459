"""The project's images, built from a checkout, for every command that needs one.

Where scripts are given that build without a registry (tests/parts.py), they are used, with buildah, which
keeps the layers of earlier builds; else Docker builds, from the official base.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests import parts

WORKER_CPU, WORKER_GPU, TRAINER = "worker-cpu", "worker-gpu", "trainer"
TAGS = {target: f"localhost/sluice:{target}" for target in (WORKER_CPU, WORKER_GPU, TRAINER)}
PYTHON_BASE = "localhost/python:3.11-slim-bookworm"
BUILDERS = {"buildah": "buildah", "crun": "crun", "mmdebstrap": "mmdebstrap"}  # program -> Debian package


class BuildFailed(Exception):
    """An image cannot be built; the message is the end of what the build said."""


def build(target: str, scripts: Path | None, context: Path = parts.CHECKOUT) -> str:
    """A target of the Dockerfile in ``context``. Returns its tag. Raises BuildFailed."""
    tag = TAGS[target]
    if scripts is None:
        _run(["docker", "build", "--target", target, "-t", tag, "."], context)
        return tag
    if not _is_built(PYTHON_BASE):
        build_base("python", scripts)
    options = ["--target", target, "--build-arg", f"PYTHON_IMAGE={PYTHON_BASE}", "--layers"]
    _run([*_script(scripts), "build", "Dockerfile", tag, ".", *options], context)
    return tag


def build_base(name: str, scripts: Path) -> None:
    """``name``: python, kafka or redis. Raises BuildFailed."""
    _run([*_script(scripts), name])


def save(tag: str, archive: Path, scripts: Path) -> bool:
    """What the scripts have built, as a file; False if there is no such image."""
    done = subprocess.run([*_script(scripts), "save", tag, str(archive)], check=False, capture_output=True)
    return done.returncode == 0


def load(tag: str, scripts: Path, environment: Mapping[str, str]) -> bool:
    """Into the Docker engine that ``environment`` points to; False if there is no such image."""
    with tempfile.TemporaryDirectory(prefix="sluice-image-") as folder:
        archive = Path(folder) / "image.tar"
        if not save(tag, archive, scripts):
            return False
        subprocess.run(["docker", "load", "-q", "-i", str(archive)], check=True, env=environment)
        return True


def _is_built(tag: str) -> bool:
    return subprocess.run(["buildah", "inspect", tag], check=False, capture_output=True).returncode == 0


def _script(scripts: Path) -> list[str]:
    return ["bash", str(scripts / "images.sh")]


def _run(command: Sequence[str], cwd: Path = parts.CHECKOUT) -> None:
    done = subprocess.run(
        command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode != 0:
        raise BuildFailed(f"{' '.join(command)}:\n{done.stdout[-3000:]}")
