"""The loop over the fake broker: order of commits, backpressure, failures, drain."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future

import pytest

from tests.brokers import FakeBrokerUnderTest, publish, wait_for
from tests.fakes.broker import FakeTransactions
from tests.stream.harness import Echo, running
from worker.errors import PublishFailed, SessionBroken, SystemicFailures
from worker.settings import KafkaSettings
from worker.stream.telemetry import SilentTelemetry
from worker.stream.types import Outgoing, Record, TopicPartition

pytestmark = pytest.mark.timeout(30)


@pytest.fixture
def under_test() -> FakeBrokerUnderTest:
    return FakeBrokerUnderTest()


@pytest.fixture(params=["at_least_once", "exactly_once"])
def settings(under_test: FakeBrokerUnderTest, request: pytest.FixtureRequest) -> KafkaSettings:
    settings = under_test.settings().model_copy(update={"delivery": request.param})
    under_test.create_topics(settings, partitions=1)
    return settings


@pytest.fixture
def echo(settings: KafkaSettings) -> Echo:
    return Echo(settings)


def upload(
    under_test: FakeBrokerUnderTest, settings: KafkaSettings, *keys: str, value: bytes = b"{}"
) -> None:
    publish(under_test.producer(settings), settings.uploads_topic, keys, value)


def verdicts(under_test: FakeBrokerUnderTest, settings: KafkaSettings) -> list[str]:
    return [(record.key or b"").decode() for record in under_test.broker.records(settings.verdicts_topic)]


def dead_letters(under_test: FakeBrokerUnderTest, settings: KafkaSettings) -> list[Record]:
    return under_test.broker.records(settings.dead_letters_topic)


def committed(under_test: FakeBrokerUnderTest, settings: KafkaSettings) -> int:
    return under_test.committed(settings).get(0, 0)


def test_every_record_is_answered_and_committed(
    under_test: FakeBrokerUnderTest, settings: KafkaSettings, echo: Echo
) -> None:
    keys = [f"u{n}" for n in range(100)]
    upload(under_test, settings, *keys)
    with running(under_test, settings, echo):
        wait_for(lambda: committed(under_test, settings) == 100, 10, "all committed")
    assert sorted(verdicts(under_test, settings)) == sorted(keys)


def test_only_the_finished_prefix_is_committed(
    under_test: FakeBrokerUnderTest, settings: KafkaSettings, echo: Echo
) -> None:
    upload(under_test, settings, "a", "slow", "b", "c")
    echo.hold("slow")
    with running(under_test, settings, echo):
        early = 3 if settings.delivery == "at_least_once" else 1  # with the offsets, or not at all
        wait_for(lambda: len(verdicts(under_test, settings)) == early, 10, "the others are answered")
        wait_for(lambda: committed(under_test, settings) == 1, 10, "the first is committed")
        time.sleep(0.2)
        assert committed(under_test, settings) == 1
        assert len(verdicts(under_test, settings)) == early
        echo.release("slow")
        wait_for(lambda: committed(under_test, settings) == 4, 10, "all are committed")


@pytest.mark.parametrize("settings", ["at_least_once"], indirect=True)
def test_nothing_is_committed_before_it_is_acknowledged(
    under_test: FakeBrokerUnderTest, settings: KafkaSettings, echo: Echo
) -> None:
    upload(under_test, settings, "a", "b")
    under_test.broker.hold_acknowledgements()
    with running(under_test, settings, echo) as run:
        wait_for(lambda: len(verdicts(under_test, settings)) == 2, 10, "both are written")
        time.sleep(0.2)
        assert committed(under_test, settings) == 0
        assert run.loop.health().oldest_unacknowledged_s > 0.1
        under_test.broker.release_acknowledgements()
        wait_for(lambda: committed(under_test, settings) == 2, 10, "both are committed")
        assert run.loop.health().oldest_unacknowledged_s == 0.0


def test_a_full_worker_polls_on_and_reads_no_further(
    under_test: FakeBrokerUnderTest, settings: KafkaSettings, echo: Echo
) -> None:
    keys = [f"u{n}" for n in range(20)]
    upload(under_test, settings, *keys)
    echo.hold(*keys)
    with running(under_test, settings, echo, concurrency=2, max_pending=4) as run:
        wait_for(lambda: run.loop.health().pending == 4, 10, "full")
        polls = run.consumer.polls  # type: ignore[attr-defined]
        time.sleep(0.5)
        assert run.consumer.polls >= polls + 5  # type: ignore[attr-defined]
        assert run.loop.health().pending == 4
        assert run.loop.health().last_poll_age_s < 0.3
        echo.release()
        wait_for(lambda: committed(under_test, settings) == 20, 10, "all committed")


def test_bytes_count_too(under_test: FakeBrokerUnderTest, settings: KafkaSettings, echo: Echo) -> None:
    keys = [f"u{n}" for n in range(10)]
    for key in keys:
        upload(under_test, settings, key, value=b"x" * 1000)
    echo.hold(*keys)
    with running(under_test, settings, echo, max_pending_bytes=1500) as run:
        wait_for(lambda: run.loop.health().pending >= 2, 10, "full")
        time.sleep(0.2)
        assert run.loop.health().pending < 10
        echo.release()
        wait_for(lambda: committed(under_test, settings) == 10, 10, "all committed")


def test_a_record_without_an_upload_id_becomes_a_dead_letter(
    under_test: FakeBrokerUnderTest, settings: KafkaSettings, echo: Echo
) -> None:
    upload(under_test, settings, "a", "unreadable-1", "b")
    with running(under_test, settings, echo):
        wait_for(lambda: committed(under_test, settings) == 3, 10, "all committed")
    (letter,) = dead_letters(under_test, settings)
    assert (letter.key, letter.value) == (b"unreadable-1", b"{}")
    assert dict(letter.headers)["sluice.reason"] == b"unreadable_event"
    assert sorted(verdicts(under_test, settings)) == ["a", "b"]


def test_a_corrupt_record_becomes_a_dead_letter(
    under_test: FakeBrokerUnderTest, settings: KafkaSettings, echo: Echo
) -> None:
    upload(under_test, settings, "a", "corrupt", "b")
    under_test.broker.poison.add((TopicPartition(settings.uploads_topic, 0), 1))
    with running(under_test, settings, echo):
        wait_for(lambda: committed(under_test, settings) == 3, 10, "all committed")
    (letter,) = dead_letters(under_test, settings)
    assert dict(letter.headers)["__connect.errors.offset"] == b"1"


@pytest.mark.parametrize("topic", ["verdicts_topic", "dead_letters_topic"])
def test_a_refused_answer_stops_the_worker_without_a_commit(
    under_test: FakeBrokerUnderTest, settings: KafkaSettings, echo: Echo, topic: str
) -> None:
    refused = getattr(settings, topic)
    under_test.broker.refuse = lambda record: record.topic == refused and record.key in {b"x", b"unreadable"}
    upload(under_test, settings, "a", "x" if topic == "verdicts_topic" else "unreadable", "b")
    with running(under_test, settings, echo) as run, pytest.raises(PublishFailed):
        run.outcome.result(10)
    assert committed(under_test, settings) <= 1


def test_a_worker_that_ends_without_a_commit_tells_of_none(
    under_test: FakeBrokerUnderTest, settings: KafkaSettings, echo: Echo
) -> None:
    """One that restarts in a loop, since nobody takes its verdicts, would look like one that works."""

    class Commits(SilentTelemetry):
        told = 0

        def committed(self, offsets: Mapping[TopicPartition, int]) -> None:
            self.told += 1

    commits = Commits()
    under_test.broker.refuse = lambda record: record.topic == settings.verdicts_topic
    upload(under_test, settings, "a")
    with running(under_test, settings, echo, commits) as run, pytest.raises(PublishFailed):
        run.outcome.result(10)
    assert commits.told == 0


@pytest.mark.parametrize("error", [SessionBroken("every input fails"), RuntimeError("a bug")])
def test_what_the_handler_raises_stops_the_worker_without_a_commit(
    under_test: FakeBrokerUnderTest, settings: KafkaSettings, echo: Echo, error: Exception
) -> None:
    upload(under_test, settings, "a", "bad", "b")
    echo.errors["bad"] = error
    with running(under_test, settings, echo) as run, pytest.raises(type(error)):
        run.outcome.result(10)
    assert committed(under_test, settings) <= 1


def test_mostly_systemic_failures_stop_the_worker_before_it_answers_the_whole_topic(
    under_test: FakeBrokerUnderTest, settings: KafkaSettings, echo: Echo
) -> None:
    keys = [f"u{n}" for n in range(100)]
    upload(under_test, settings, *keys)
    echo.systemic = lambda key: True
    limits = {"failure_window": 10, "failure_share": 0.5, "concurrency": 1}
    with running(under_test, settings, echo, **limits) as run:
        error = run.outcome.exception(10)
    assert isinstance(error, SystemicFailures)
    assert "5 of the last 10" in str(error)
    assert len(verdicts(under_test, settings)) == 4  # the fifth failure is not published any more
    assert committed(under_test, settings) <= 4


def test_scattered_systemic_failures_do_not(
    under_test: FakeBrokerUnderTest, settings: KafkaSettings, echo: Echo
) -> None:
    upload(under_test, settings, *[f"u{n}" for n in range(60)])
    echo.systemic = lambda key: key.endswith("0")
    with running(under_test, settings, echo, failure_window=10, failure_share=0.5):
        wait_for(lambda: committed(under_test, settings) == 60, 10, "all committed")


def test_stop_finishes_what_was_admitted_and_nothing_else(
    under_test: FakeBrokerUnderTest, settings: KafkaSettings, echo: Echo
) -> None:
    keys = [f"u{n}" for n in range(20)]
    upload(under_test, settings, *keys)
    echo.hold(*keys)
    with running(under_test, settings, echo, concurrency=4, max_pending=4) as run:
        wait_for(lambda: run.loop.health().pending == 4, 10, "full")
        run.loop.stop(5.0)
        time.sleep(0.2)
        echo.release()
        assert run.outcome.result(10).abandoned == 0
    assert sorted(verdicts(under_test, settings)) == ["u0", "u1", "u2", "u3"]
    assert committed(under_test, settings) == 4
    assert under_test.broker.group(settings.group_id).members == []


def test_stop_abandons_what_is_not_finished_in_time(
    under_test: FakeBrokerUnderTest, settings: KafkaSettings, echo: Echo
) -> None:
    abandoned: list[str] = []

    class Told(SilentTelemetry):
        def abandoned(self) -> None:
            abandoned.append("one")

    upload(under_test, settings, "a", "stuck")
    echo.hold("stuck")
    with running(under_test, settings, echo, Told()) as run:
        wait_for(lambda: verdicts(under_test, settings) == ["a"] and "stuck" in echo.seen, 10, "one answered")
        began_s = time.monotonic()
        assert run.stop(drain_timeout_s=0.3).abandoned == len(abandoned) == 1
        assert time.monotonic() - began_s < 2
        echo.release()
        time.sleep(0.2)
    assert verdicts(under_test, settings) == ["a"]  # the late answer is not published
    assert committed(under_test, settings) == 1


def test_a_broker_that_is_away_for_a_while_stops_nothing(
    under_test: FakeBrokerUnderTest, settings: KafkaSettings, echo: Echo
) -> None:
    upload(under_test, settings, "a")
    with running(under_test, settings, echo) as run:
        wait_for(lambda: committed(under_test, settings) == 1, 10, "first committed")
        under_test.broker.down = True
        time.sleep(0.3)
        assert run.loop.health().last_poll_age_s > 0.1
        wait_for(lambda: run.loop.health().broker_silence_s > 0.1, 10, "the silence is noticed")
        under_test.broker.down = False
        wait_for(lambda: run.loop.health().broker_silence_s < 0.1, 10, "and its end")
        upload(under_test, settings, "b")
        wait_for(lambda: committed(under_test, settings) == 2, 10, "second committed")


def test_work_of_a_revoked_partition_is_abandoned_and_done_by_its_new_owner(
    under_test: FakeBrokerUnderTest, settings: KafkaSettings
) -> None:
    topic = settings.uploads_topic
    under_test.broker.create_topic(topic, 2)
    for partition in (0, 1):
        under_test.broker.append(Outgoing(topic, f"p{partition}".encode(), b"{}"), partition)
    first, second = Echo(settings), Echo(settings)
    first.hold("p0", "p1")
    with running(under_test, settings, first):
        wait_for(lambda: len(first.seen) == 2, 10, "the first works on both")
        with running(under_test, settings, second):
            wait_for(lambda: len(second.seen) == 1, 10, "the second got one")
            wait_for(lambda: verdicts(under_test, settings) == second.seen, 10, "and answered it")
            first.release()
            wait_for(lambda: len(verdicts(under_test, settings)) == 2, 10, "the first answered the other")
            time.sleep(0.2)
    assert sorted(verdicts(under_test, settings)) == ["p0", "p1"]  # each once


def test_a_worker_that_vanishes_is_replaced_and_its_records_come_again(
    under_test: FakeBrokerUnderTest, settings: KafkaSettings
) -> None:
    upload(under_test, settings, "a", "b")
    stuck, healthy = Echo(settings), Echo(settings)
    stuck.hold("a", "b")
    with running(under_test, settings, stuck) as victim:
        wait_for(lambda: len(stuck.seen) == 2, 10, "the first works on both")
        victim.consumer.vanish()  # type: ignore[attr-defined]
        with running(under_test, settings, healthy):
            wait_for(lambda: committed(under_test, settings) == 2, 10, "the second answered both")
    assert sorted(healthy.seen) == ["a", "b"]


def test_a_producer_that_blocks_does_not_block_the_polling(
    under_test: FakeBrokerUnderTest, settings: KafkaSettings, echo: Echo
) -> None:
    class Blocking:
        def send(self, record: Outgoing) -> Future[None]:
            time.sleep(1.0)
            return under_test.broker.append(record)

        def write(
            self, records: Sequence[Outgoing], offsets: Mapping[TopicPartition, int], membership: object
        ) -> None:
            time.sleep(1.0)
            FakeTransactions(under_test.broker, settings).write(records, offsets, membership)

        def close(self, timeout_s: float) -> None: ...

    upload(under_test, settings, "a")
    under_test.producer = lambda settings: Blocking()  # type: ignore[method-assign]
    under_test.transactions = lambda settings: Blocking()  # type: ignore[method-assign]
    with running(under_test, settings, echo) as run:
        wait_for(lambda: run.loop.health().oldest_unacknowledged_s > 0.3, 10, "the send hangs")
        assert run.loop.health().last_poll_age_s < 0.3
        wait_for(lambda: committed(under_test, settings) == 1, 10, "committed")
