"""These tests belong to `make test-images`, which builds what they start."""

from __future__ import annotations

import os

import pytest

from tests import parts

BUILT = "SLUICE_IMAGES_BUILT"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if BUILT in os.environ:
        return
    apart = [item for item in items if "tests/images/test_" in item.path.as_posix()]
    apart = [item for item in apart if item.get_closest_marker("containers")]
    if apart:
        config.hook.pytest_deselected(items=apart)
        items[:] = [item for item in items if item not in apart]
        parts.absent["Images with CUDA and torch"] = "`make test-images` runs these"
