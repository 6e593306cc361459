"""`sluice models pull`, once and again and again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.model_folders import write_filter
from tests.object_store import KEYS, ObjectStore, object_store
from worker.cli import cli
from worker.clock import SystemClock
from worker.commands.pull import look
from worker.inference.store import ModelFolder, ModelUri
from worker.media.source import MediaSource

NAME = "tiny-filter"
NEWEST = f"s3://models/{NAME}#newest"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ObjectStore]:
    with object_store("models") as found:
        found.upload(write_filter(tmp_path / "published", "1"), f"{NAME}/1")
        yield found


def environment(store: ObjectStore) -> dict[str, str]:
    given = {"s3_endpoint_url": store.endpoint, **KEYS}
    return {f"SLUICE_FETCH__{name.upper()}": value for name, value in given.items()}


def pull(store: ObjectStore, *arguments: str, **more: str) -> Result:
    return CliRunner().invoke(cli, ["models", "pull", *arguments], env=environment(store) | more)


def test_what_is_printed_pins_the_version(store: ObjectStore, tmp_path: Path) -> None:
    first = pull(store, NEWEST, "--to", str(tmp_path / "here"))
    assert first.exit_code == 0, first.output
    state, pinned = first.stdout.split()
    assert state == "brought"
    assert pinned.startswith(f"s3://models/{NAME}/1#sha256=")
    again = pull(store, pinned, SLUICE_INFERENCE__MODELS_DIR=str(tmp_path / "here"))
    assert again.stdout.split() == ["already", "there", pinned]


def test_without_a_folder(store: ObjectStore) -> None:
    done = pull(store, NEWEST)
    assert done.exit_code == 1
    assert "--to DIR, or set inference.models_dir" in done.output


def test_a_folder_follows_the_store(store: ObjectStore, tmp_path: Path) -> None:
    models = ModelFolder(tmp_path / "here", MediaSource(store.settings(), SystemClock()), SystemClock())

    def after_a_look(*uris: str) -> tuple[list[str], list[str]]:
        """What was said, and the versions that are there then."""
        changes, errors = look(models, [ModelUri.parse(uri) for uri in uris])
        said = [line.partition("#")[0].replace(f"s3://models/{NAME}/", f"{NAME}@") for line in changes]
        versions = sorted(path.name for path in (tmp_path / "here" / NAME).iterdir())
        return [" ".join(line.split()) for line in [*said, *errors]], versions

    assert after_a_look(NEWEST) == ([f"brought {NAME}@1"], ["1"])
    assert after_a_look(NEWEST) == ([], ["1"])
    store.upload(write_filter(tmp_path / "published", "2"), f"{NAME}/2")
    assert after_a_look(NEWEST) == ([f"brought {NAME}@2", f"taken away {NAME}@1"], ["2"])
    assert after_a_look(NEWEST, f"s3://models/{NAME}/1") == ([f"brought {NAME}@1"], ["1", "2"])
    store.delete(f"{NAME}/2/")
    assert after_a_look(NEWEST) == ([f"taken away {NAME}@2"], ["1"]), "the way back"
    missing = f"s3://models/{NAME}/7"
    (error,), versions = after_a_look(missing, NEWEST)
    assert error.startswith(missing)
    assert versions == ["1"], "nothing goes while something is amiss"


def test_it_looks_again_until_it_is_told_to_end(store: ObjectStore, tmp_path: Path) -> None:
    """As a sidecar runs it: no temporary files but in the folder."""
    command = [sys.executable, "-m", "worker.cli", "models", "pull", NEWEST, "--to", str(tmp_path / "here")]
    variables = os.environ | environment(store) | {"TMPDIR": "/nowhere", "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        [*command, "--every", "1"], env=variables, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("brought")
            store.upload(write_filter(tmp_path / "published", "2"), f"{NAME}/2")
            assert f"{NAME}/2#" in process.stdout.readline()
            assert process.stdout.readline().split() == ["taken", "away", f"{NAME}@1"]
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
