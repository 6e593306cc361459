"""The page says what the committed results say. Needs no cluster."""

from __future__ import annotations

from tests.cluster.table import PAGE, page


def test_the_page_agrees_with_the_results() -> None:
    assert PAGE.read_text() == page(), "run `python -m tests.cluster.table`"
