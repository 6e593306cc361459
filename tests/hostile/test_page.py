"""docs/hostile-input.md says what the committed results and the settings say."""

from __future__ import annotations

import re

from tests.hostile.page import PAGE, page
from worker.reference import defaults

ROW = re.compile(r"^\| `(?P<group>[a-z]+)\.(?P<name>[a-z_0-9]+)` \| (?P<default>[^|]*) \|", re.M)
PATH = re.compile(r"`(tests/[a-z_/0-9]+\.py)(?:::(\w+))?`")


def test_the_tables_agree_with_the_results() -> None:
    assert PAGE.read_text() == page(), "run `python -m tests.hostile.page`"


def test_the_limits_agree_with_the_settings() -> None:
    rows = list(ROW.finditer(PAGE.read_text()))
    assert len(rows) > 20
    for row in rows:
        assert row["default"] == str(defaults()[row["group"]][row["name"]]), row.group()


def test_the_tests_that_it_names_exist() -> None:
    root = PAGE.parents[1]
    named = list(PATH.finditer(PAGE.read_text()))
    assert named
    for file, test in (found.groups() for found in named):
        assert not test or f"def {test}(" in (root / file).read_text(), (file, test)
        assert (root / file).is_file(), file
