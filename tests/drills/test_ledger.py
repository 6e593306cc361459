"""Each row breaks one promise, and the ledger says which."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.drills.ledger import Books, balance
from tests.samples import VERSIONS
from worker.messages import Coverage, Verdict
from worker.stream.types import Place

SEEN = Coverage(seconds_seen=1.0, share=1.0, clips=1)
NOTHING_SEEN = Coverage(seconds_seen=0.0, share=0.0, clips=0)
NEWER = VERSIONS.model_copy(update={"policy": "default@2"})
POISON = Place("uploads", 0, 7)
OTHER = Place("uploads", 0, 8)


def verdict(upload: str, identity: int = 0, **fields: Any) -> Verdict:
    """Of an upload that was allowed; ``identity`` tells its verdict's ids apart."""
    known: dict[str, Any] = {
        "verdict_id": uuid.uuid5(uuid.NAMESPACE_OID, f"{upload}/{identity}"),
        "upload_id": upload,
        "decision": "allow",
        "decided_by": "filter",
        "reason": "",
        "coverage": SEEN,
        "versions": VERSIONS,
        "decided_at": datetime(2026, 1, 1, tzinfo=UTC),
    }
    return Verdict(**known | fields)


def books(*verdicts: Verdict, **fields: Any) -> Books:
    known: dict[str, Any] = {
        "acknowledged": frozenset({"a", "b"}),
        "uploads": frozenset({"a", "b"}),
        "unreadable": frozenset({POISON}),
        "verdicts": verdicts,
        "letters": (POISON,),
    }
    return Books(**known | fields)


A, B = verdict("a"), verdict("b")
FAILED: dict[str, Any] = {"decision": "review", "decided_by": "error", "coverage": None}


def test_books_that_balance() -> None:
    ledger = balance(books(A, B, A, letters=(POISON, POISON)))
    assert ledger.faults() == []
    assert ledger.summary() == {
        "uploads_in": 2,
        "uploads_answered": 2,
        "unreadable_in": 1,
        "unreadable_lettered": 1,
        "lost": 0,
        "missing": 0,
        "conflicting": 0,
        "unearned": 0,
        "unlettered": 0,
        "strangers": 0,
        "unneeded_reviews": {},
        "judged_in_several_ways": 0,
        "repeats": 1,
    }


@pytest.mark.parametrize(
    ("broken", "fault"),
    [
        (books(A, B, acknowledged=frozenset({"a", "b", "c"})), "1 lost: c"),
        (books(A), "1 missing: b"),
        (books(), "2 missing: a, b"),
        (books(A, B, verdict("b", 1)), "1 conflicting: b"),
        (books(A, B, verdict("b", decision="block")), "1 conflicting: b"),
        (books(A, B, verdict("b", versions=NEWER)), "1 conflicting: b"),
        (books(A, verdict("b", decided_by="error")), "1 unearned: b"),
        (books(A, verdict("b", coverage=None)), "1 unearned: b"),
        (books(A, verdict("b", coverage=NOTHING_SEEN), B), "1 unearned: b"),
        (books(A, B, letters=()), "1 unlettered: uploads/0/7"),
        (books(A, B, verdict("c")), "1 strangers: c"),
        (books(A, B, letters=(POISON, OTHER)), "1 strangers: uploads/0/8"),
        (books(A, B, letters=(POISON, None)), "1 strangers: a dead letter without a source"),
    ],
)
def test_what_must_not_be_is_named(broken: Books, fault: str) -> None:
    assert balance(broken).faults() == [fault]


def test_long_lists_are_cut() -> None:
    uploads = frozenset("abcdefgh")
    (fault,) = balance(books(acknowledged=uploads, uploads=uploads)).faults()
    assert fault == "8 missing: a, b, c, d, e and 3 more"


@pytest.mark.parametrize(
    ("other", "reviews"),
    [
        (verdict("b", 1, versions=NEWER), {}),
        (verdict("b", 1, degraded=True, reason="deadline_exceeded"), {"deadline_exceeded": 1}),
        (verdict("b", 1, reason="quarantined", **FAILED), {"quarantined": 1}),
    ],
)
def test_an_upload_may_be_judged_in_several_ways(other: Verdict, reviews: dict[str, int]) -> None:
    ledger = balance(books(A, B, other))
    assert ledger.faults() == []
    assert ledger.judged_in_several_ways == 1
    assert ledger.unneeded_reviews == reviews


def test_the_live_verdict_counts_and_what_is_hopeless_deserves_review() -> None:
    failed = verdict("b", 1, reason="undecodable", **FAILED)
    assert balance(books(A, failed, B)).unneeded_reviews == {}
    assert balance(books(A, failed, hopeless=frozenset({"b"}))).unneeded_reviews == {}
    assert balance(books(A, failed)).unneeded_reviews == {"undecodable": 1}
