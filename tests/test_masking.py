"""Planted secrets do not come through."""

from __future__ import annotations

import pytest

from tests.samples import an_event
from tests.test_verdicts import NOW
from worker.errors import SourceUnavailable
from worker.masking import mask
from worker.messages import Versions
from worker.verdicts import Subject, failed

PLANTED = [
    "https://user:hunter2@host/v.mp4",
    "redis://:hun/ter2@cache:6379",
    "https://hunter2@host/v.mp4",
    "https://host/v.mp4?X-Goog-Signature=hunter2&x=1",
    "https://host/v.mp4?a=1&access_token=hunter2",
    "https://host/v.mp4?sv=1&sig=hunter2",
    "sasl_plain_password=hunter2",
    "{'password': 'hunter2'}",
    '{"secret_key": "hunter2"}',
    "Authorization: Bearer hunter2hunter2",
]


@pytest.mark.parametrize("text", PLANTED)
def test_secrets_are_taken_out(text: str) -> None:
    assert "ter2" not in mask(f"cannot fetch {text}, try again")
    assert mask(text) != text


@pytest.mark.parametrize(
    "text",
    [
        "https://host/clips/v.mp4?part=1",
        "the media has no video stream",
        "decode.job_timeout_s = 30",
        "s3://bucket/key@2x.mp4",
    ],
)
def test_the_rest_stays(text: str) -> None:
    assert mask(text) == text


def test_the_detail_of_a_verdict_is_masked_short_and_encodable() -> None:
    error = SourceUnavailable("https://user:hunter2@host/\udc80" + "x" * 5000)
    verdict = failed(
        Subject(an_event(), None, Versions(code="0")), error, sha256=None, timings_ms={}, now=NOW
    )
    assert "hunter2" not in verdict.detail
    assert len(verdict.detail) == 1000
    assert verdict.model_dump_json()
