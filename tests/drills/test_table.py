"""The page shows what the committed results say, failures included."""

from __future__ import annotations

from typing import Any

from tests.drills.table import PAGE, page, table

FOUND: dict[str, Any] = {
    "fault": "worker killed",
    "broker": "Apache Kafka, three nodes",
    "injected": "SIGKILL 20 times",
    "ledger": {
        "uploads_in": 2000,
        "unreadable_in": 3,
        "repeats": 7,
        "unneeded_reviews": {"quarantined": 1},
        "judged_in_several_ways": 0,
    },
    "longest_gap_s": 6.32,
    "recovered_s": 7.04,
    "all_recovered_s": [6.9, 7.04],
    "restarts": 0,
    "targets": [{"name": "raw repeats", "value": 7, "at_most": 5, "is_met": False}],
    "failures": [],
}


def test_the_page_agrees_with_the_results() -> None:
    assert PAGE.read_text() == page(), "run `python -m tests.drills.table`"


def test_a_row() -> None:
    *_, row = table([FOUND]).splitlines()
    assert row == (
        "| worker killed | SIGKILL 20 times | Apache Kafka, three nodes | 2000 uploads, 3 unreadable "
        "| all answered, once; 7 repeats; 1 `review`, quarantined; raw repeats: 7 of 5 **missed** "
        "| 6.3 | 7.0 |"
    )


def test_a_drill_that_failed_says_why() -> None:
    did_not_end = {
        "fault": "worker killed",
        "broker": "embedded",
        "failures": ["did not end: 3 uploads have none"],
    }
    *_, failed, ended = table([FOUND | {"failures": ["1 missing: a"]}, did_not_end]).splitlines()
    assert "**1 missing: a**" in failed
    assert "did not end: 3 uploads have none" in ended
