"""The small set, written and decoded once."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.trainer.fit.small import config_of, write_set
from trainer.data.dataset import VideoSet
from trainer.data.rolls import ClipCache
from trainer.fit import threads

MakeSet = Callable[..., VideoSet]


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small")
    write_set(folder)
    return folder


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> ClipCache:
    return ClipCache(tmp_path_factory.mktemp("clips"))


@pytest.fixture
def make_set(root: Path, cache: ClipCache) -> MakeSet:
    """``make_set(epochs=2, batch=4)``: fields of ``fit``; of the configuration in ``changes``."""

    def make(changes: dict[str, Any] | None = None, **fit: Any) -> VideoSet:
        return VideoSet.read(config_of(root, fit, **(changes or {})), cache)

    return make


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    with threads(1):
        yield
