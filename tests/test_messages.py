"""The wire contracts and the documents that are generated from them."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from pathlib import Path

import jsonschema
import pytest

from tests.samples import VERSIONS
from worker.contracts import documents, json_schema
from worker.messages import UploadEvent, Verdict, verdict_id

SCHEMAS = Path(__file__).parent.parent / "docs" / "schemas"


@pytest.mark.parametrize("name", sorted(documents()))
def test_published_documents_are_current(name: str) -> None:
    assert (SCHEMAS / name).read_text() == documents()[name], "run `make schemas`"


def test_equal_grounds_give_equal_ids() -> None:
    def an_id(**changes: object) -> uuid.UUID:
        arguments = {"upload_id": "u", "sha256": "a" * 64, "versions": VERSIONS} | changes
        return verdict_id(**{"degraded": False, "reason": "", **arguments})  # type: ignore[arg-type]

    assert an_id() == an_id()
    others = [
        an_id(upload_id="v"),
        an_id(sha256="b" * 64),
        an_id(sha256=None),
        an_id(versions=VERSIONS.model_copy(update={"policy": "default@2"})),
        an_id(degraded=True),
        an_id(reason="undecodable"),
    ]
    assert len({an_id(), *others}) == 7


def test_a_verdict_conforms_to_its_schema_and_comes_back() -> None:
    verdict = Verdict(
        verdict_id=uuid.uuid4(),
        upload_id="u",
        decision="review",
        decided_by="error",
        reason="undecodable",
        versions=VERSIONS,
        decided_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    wire = verdict.model_dump(mode="json")
    jsonschema.Draft202012Validator(json_schema(Verdict)).validate(wire)
    assert Verdict.model_validate(wire) == verdict


def test_the_event_schema_refuses_what_the_worker_refuses() -> None:
    validator = jsonschema.Draft202012Validator(json_schema(UploadEvent))
    good = {"upload_id": "u", "uri": "s3://b/k"}
    assert validator.is_valid(good)
    for bad in ({**good, "upload_id": "a b"}, {**good, "priority": "urgent"}, {"uri": "s3://b/k"}):
        assert not validator.is_valid(bad)
