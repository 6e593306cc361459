"""What the tests of the chart share beside rendering."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from worker.configuration import load_settings
from worker.settings import Settings

Start = Callable[[dict[str, str]], Settings]


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Start:
    """Load the settings as a worker would in a pod with these variables."""

    def started(variables: dict[str, str]) -> Settings:
        monkeypatch.chdir(tmp_path)
        for name in [name for name in os.environ if name.startswith("SLUICE_")]:
            monkeypatch.delenv(name)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        return load_settings()

    return started
