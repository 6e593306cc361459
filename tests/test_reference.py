"""The settings reference in docs is what the code says."""

from __future__ import annotations

import pytest

from tests.parts import CHECKOUT
from worker.configuration import fields, variable_name
from worker.reference import accepted, markdown, setting_schemas


def test_the_reference_is_up_to_date() -> None:
    written = (CHECKOUT / "docs" / "settings.md").read_text()
    assert written == markdown(), "run `make schemas`"


def test_every_setting_has_a_meaning() -> None:
    silent = [variable_name(path) for path, field in fields() if not field.description]
    assert not silent, "give them a description in worker/settings.py"


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (("kafka", "group_id"), "text, not empty"),
        (("decode", "processes"), "integer, 1 to 64"),
        (("worker", "failure_share"), "number, above 0, at most 1"),
        (("telemetry", "log_format"), "`auto`, `json`, `console`"),
        (("fetch", "file_roots"), "texts"),
        (("fetch", "allow_http"), "`true`, `false`"),
        (("policy", "file"), "text"),
    ],
)
def test_what_a_setting_accepts_is_said(path: tuple[str, str], text: str) -> None:
    assert accepted(setting_schemas()[path]) == text
