"""`sluice dlq` over real brokers: list, show, redrive, drop; twice is once."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from tests.brokers import BrokerUnderTest, RealBroker
from tests.commands.running import sluice
from tests.conftest import EMBEDDED_BROKER
from worker.errors import UnreadableEvent
from worker.settings import KafkaSettings
from worker.stream import dead_letter
from worker.stream.client import Lookup
from worker.stream.types import Outgoing, Place, Record, Unreadable

pytestmark = pytest.mark.timeout(60)

MEDIA = b"\x00\x00\x00\x18ftypisom" + b"m" * 500
UPLOADS = (b"not json", MEDIA, b"[]")


@pytest.fixture
def kafka(real_broker: RealBroker) -> KafkaSettings:
    """Three records that were dead-lettered, the second without its media, and one that was corrupt."""
    settings = real_broker.settings()
    real_broker.create_topics(settings, 1)
    uploads = [
        Outgoing(settings.uploads_topic, b"k", value, (("trace", b"t"), ("sluice.settles", b"0")))
        for value in UPLOADS
    ]
    send(real_broker, settings, uploads)
    with Lookup(settings) as lookup:
        records = [lookup.record(Place(settings.uploads_topic, 0, offset)) for offset in range(3)]
    topic = settings.dead_letters_topic
    letters = [
        dead_letter.for_record(topic, record, UnreadableEvent(f"number {n}"), 10_000)
        for n, record in enumerate(records)
        if record is not None
    ]
    corrupt = Unreadable(settings.uploads_topic, 0, 77, "CorruptRecordError: bad CRC")
    send(real_broker, settings, [*letters, dead_letter.for_unreadable(topic, corrupt)])
    return settings


def send(broker: BrokerUnderTest, settings: KafkaSettings, records: Sequence[Outgoing]) -> None:
    producer = broker.producer(settings)
    for record in records:  # one after the other: each in a batch of its own
        producer.send(record).result(20)
    producer.close(2)


def uploads(broker: BrokerUnderTest, settings: KafkaSettings, count: int) -> list[Record]:
    return broker.records(settings, settings.uploads_topic, count)


def listed(settings: KafkaSettings, *arguments: str) -> dict[str, str]:
    done = sluice(settings, "dlq", "list", "--json", *arguments)
    assert done.exit_code == 0, done.output
    described = [json.loads(line) for line in done.stdout.splitlines()]
    return {letter["letter"]: letter["state"] for letter in described}


def test_list_and_show(kafka: KafkaSettings) -> None:
    done = sluice(kafka, "dlq", "list")
    lines = done.stdout.splitlines()
    assert len(lines) == 4
    assert lines[0].startswith("0/0 ")
    assert f"open      unreadable_event   {kafka.uploads_topic}/0/0  number 0" in lines[0]
    assert "unreadable_record" in lines[3]
    assert listed(kafka, "--reason", "unreadable_record") == {"0/3": "open"}
    assert listed(kafka, "--until", "1h") == {}
    assert len(listed(kafka, "--since", "1h")) == 4

    shown = json.loads(sluice(kafka, "dlq", "show", "0/0").stdout)
    assert (shown["key"], shown["value"], shown["headers"]["trace"]) == ("k", "not json", "t")
    shown = json.loads(sluice(kafka, "dlq", "show", "0/1").stdout)
    assert (shown["omitted"], shown["value"], shown["value_bytes"]) == ("inline_media", None, 0)
    missing = sluice(kafka, "dlq", "show", "0/99")
    assert missing.exit_code == 1
    assert "holds no letter 0/99" in missing.output


def test_redrive_publishes_originals_once(real_broker: RealBroker, kafka: KafkaSettings) -> None:
    plan = sluice(kafka, "dlq", "redrive", "--all", "--dry-run")
    assert (plan.exit_code, plan.stdout.splitlines()[-1]) == (0, "would redrive: 4")
    assert len(uploads(real_broker, kafka, 3)) == 3

    done = sluice(kafka, "dlq", "redrive", "--all")
    assert done.exit_code == 1  # the corrupt record cannot be had
    assert done.stdout.splitlines()[-1] == "published again: 3, not possible: 1"
    assert f"0/3: the original was left out (unreadable), and {kafka.uploads_topic}/0/77" in done.stderr
    again = uploads(real_broker, kafka, 6)[3:]
    assert [record.value for record in again] == list(UPLOADS)  # the media too, from its source
    assert {record.key for record in again} == {b"k"}
    assert {record.headers for record in again} == {(("trace", b"t"), ("sluice.settles", b"0"))}

    assert listed(kafka) == {"0/3": "open"}
    assert listed(kafka, "--settled")["0/0"] == "redriven"
    assert sluice(kafka, "dlq", "redrive", "--reason", "unreadable_event").exit_code == 0
    assert len(uploads(real_broker, kafka, 6)) == 6


def test_a_source_that_is_another_record_by_now_is_not_published(
    real_broker: RealBroker, kafka: KafkaSettings
) -> None:
    """As after the topic was deleted and made again."""
    lying = Record(kafka.uploads_topic, 0, 0, b"k", MEDIA)  # at offset 0 is another value
    letter = dead_letter.for_record(kafka.dead_letters_topic, lying, UnreadableEvent("x"), 10_000)
    send(real_broker, kafka, [letter])
    done = sluice(kafka, "dlq", "redrive", "0/4")
    assert done.exit_code == 1
    assert "0/0 is gone or cannot be read" in done.stderr


def test_drop_settles_and_deletes_what_nothing_open_stands_before(
    real_broker: RealBroker, kafka: KafkaSettings
) -> None:
    assert sluice(kafka, "dlq", "drop", "0/0", "0/2", "--dry-run").stdout.endswith("would drop: 2\n")
    assert len(listed(kafka)) == 4

    done = sluice(kafka, "dlq", "drop", "0/0", "0/2")
    assert (done.exit_code, done.stdout) == (0, "dropped: 2\n")
    assert listed(kafka) == {"0/1": "open", "0/3": "open"}
    deletes = real_broker.name != EMBEDDED_BROKER  # which cannot
    assert ("keeps them until" in done.stderr) is not deletes
    kept = {"0/2": "dropped", "0/1": "open", "0/3": "open"}
    assert listed(kafka, "--settled") == (kept if deletes else {"0/0": "dropped", **kept})
    assert sluice(kafka, "dlq", "drop", "0/0", "0/2").stdout == "dropped: 0\n"

    assert sluice(kafka, "dlq", "drop", "--all").stdout == "dropped: 2\n"
    assert listed(kafka) == {}
    if deletes:
        assert listed(kafka, "--settled") == {}
        assert sluice(kafka, "dlq", "show", "0/1").exit_code == 1
    assert uploads(real_broker, kafka, 3)[0].value == b"not json"  # sources are never touched


@pytest.mark.parametrize("command", [["dlq", "redrive"], ["dlq", "drop"], ["requeue"]])
def test_all_must_be_said(command: list[str]) -> None:
    done = sluice(KafkaSettings(bootstrap_servers="127.0.0.1:1"), *command)
    assert done.exit_code == 1
    assert "or --all" in done.output


def test_a_moment_is_a_time_or_an_age() -> None:
    done = sluice(KafkaSettings(bootstrap_servers="127.0.0.1:1"), "dlq", "list", "--since", "yesterday")
    assert done.exit_code == 2
    assert "'yesterday' is neither a time" in done.output
