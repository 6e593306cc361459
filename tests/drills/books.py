"""Reads from the topics what the ledger needs. The topics are the truth, not what was meant to be sent."""

from __future__ import annotations

import time

from tests.drills.ledger import Books
from worker.commands.watch import read_verdict
from worker.errors import BrokerUnavailable, InvalidEvent, UnreadableEvent
from worker.events import read_upload, salvaged
from worker.messages import Verdict
from worker.settings import KafkaSettings
from worker.stream.client import committed_offsets, read_topic
from worker.stream.letters import read_letters
from worker.stream.types import Place, Record, Unreadable

PATIENCE_S = 60.0


def read_books(kafka: KafkaSettings, acknowledged: frozenset[str], hopeless: frozenset[str]) -> Books:
    uploads: set[str] = set()
    unreadable: set[Place] = set()
    for item in read_topic(kafka, kafka.uploads_topic):
        upload_id = _upload_id(item)
        if upload_id is None:
            unreadable.add(item.place)
        else:
            uploads.add(upload_id)
    verdicts = [_verdict(item) for item in read_topic(kafka, kafka.verdicts_topic)]
    letters = read_letters(read_topic(kafka, kafka.dead_letters_topic))
    return Books(
        acknowledged=acknowledged,
        uploads=frozenset(uploads),
        unreadable=frozenset(unreadable),
        verdicts=tuple(verdicts),
        letters=tuple(letter.source for letter in letters.all),
        hopeless=hopeless,
    )


def wait_until_committed(kafka: KafkaSettings) -> None:
    """Until the group has committed all that is on the uploads topic. Raises AssertionError."""
    ends: dict[int, int] = {}
    for item in read_topic(kafka, kafka.uploads_topic):
        ends[item.partition] = item.offset + 1
    give_up_s = time.monotonic() + PATIENCE_S
    while (committed := _committed(kafka)) != ends:
        if time.monotonic() > give_up_s:
            raise AssertionError(f"the group has committed {committed} of {ends}")
        time.sleep(0.2)


def _committed(kafka: KafkaSettings) -> dict[int, int]:
    try:
        return {at: offset for at, offset in committed_offsets(kafka, kafka.uploads_topic).items() if offset}
    except BrokerUnavailable:  # the coordinator is being elected
        return {}


def _upload_id(item: Record | Unreadable) -> str | None:
    if isinstance(item, Unreadable):
        return None
    try:
        return read_upload(item).event.upload_id
    except InvalidEvent as error:
        return salvaged(error).upload_id
    except UnreadableEvent:
        return None


def _verdict(item: Record | Unreadable) -> Verdict:
    verdict = read_verdict(item) if isinstance(item, Record) else None
    assert verdict is not None, f"{item.place} holds no verdict"
    return verdict
