"""`sluice shadow report`: the sums, and the topic of a real broker."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.brokers import RealBroker
from tests.commands.running import sluice
from tests.samples import MODEL, VERSIONS
from worker.commands.shadow import grouped, summarise
from worker.messages import Action, Judgement, Label, ShadowComparison
from worker.stream.client import BrokerProducer, TopicSpec, create_topics
from worker.stream.types import Outgoing

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


def side(decision: Action, probability: float, version: str, **fields: Any) -> Judgement:
    given: dict[str, Any] = {
        "decision": decision,
        "decided_by": "filter",
        "reason": "",
        "degraded": False,
        "labels": (
            Label(name="violence", parent="", probability=probability, threshold=0.5, action=decision),
        ),
        "versions": VERSIONS.model_copy(
            update={"models": (MODEL.model_copy(update={"name": "filter", "version": version}),)}
        ),
        "timings_ms": {"decode": 50.0, "filter": 20.0 if version == "1" else 30.0, "total": 90.0},
    }
    return Judgement(**given | fields)


def comparison(
    upload_id: str,
    served: tuple[Action, float],
    shadow: tuple[Action, float],
    *,
    minute: int = 0,
    version: str = "2",
    **fields: Any,
) -> ShadowComparison:
    return ShadowComparison(
        upload_id=upload_id,
        sha256="0" * 64,
        agrees=served[0] == shadow[0],
        served=side(*served, version="1"),
        shadow=side(*shadow, version, **fields),
        compared_at=NOON + timedelta(minutes=minute),
    )


def examples() -> Iterator[ShadowComparison]:
    for number in range(6):
        yield comparison(f"a-{number}", ("allow", 0.1), ("allow", 0.2), minute=number)
    yield comparison("b-1", ("review", 0.6), ("review", 0.7), minute=6)
    yield comparison("b-2", ("review", 0.6), ("block", 0.99), minute=7)
    yield comparison("b-3", ("review", 0.6), ("allow", 0.4), minute=8)
    yield comparison("c-1", ("block", 0.98), ("block", 0.99), minute=9)
    yield comparison("e-1", ("allow", 0.1), ("review", 0.5), minute=10, decided_by="error", reason="x")


def test_sums() -> None:
    summary = summarise(list(examples()))
    assert summary is not None
    assert (summary.served, summary.shadow) == (("filter@1",), ("filter@2",))
    assert (summary.compared, summary.failed, summary.agreement) == (10, 1, 0.8)
    # Wilson's interval of 8 in 10; agreement by chance: 6/10 x 7/10 + 3/10 x 1/10 + 1/10 x 2/10.
    assert summary.agreement_low == pytest.approx(0.4902, abs=1e-4)
    assert summary.agreement_high == pytest.approx(0.9433, abs=1e-4)
    assert summary.by_chance == pytest.approx(0.47)
    assert summary.kappa == pytest.approx((0.8 - 0.47) / 0.53)
    assert summary.decisions["review"] == {"allow": 1, "review": 1, "block": 1}
    (label,) = summary.labels
    assert (label.served_mean, label.shadow_mean) == pytest.approx((0.338, 0.428))
    assert (summary.served_ms, summary.shadow_ms) == (20.0, 30.0)
    assert [each["upload_id"] for each in summary.widest] == ["b-2", "b-3"]
    assert (summary.since, summary.until) == ("2026-11-24T12:00:00+00:00", "2026-11-24T12:09:00+00:00")


def test_an_upload_that_came_twice_counts_once() -> None:
    twice = [comparison("a", ("allow", 0.1), (decision, 0.5), minute=n) for n, decision in enumerate(ACTIONS)]
    summary = summarise(twice)
    assert summary is not None
    assert (summary.compared, summary.agreement) == (1, 0.0)


ACTIONS: tuple[Action, ...] = ("allow", "review")


def test_always_the_same_answer_leaves_kappa_undefined() -> None:
    summary = summarise([comparison(f"{n}", ("allow", 0.1), ("allow", 0.1)) for n in range(3)])
    assert summary is not None
    assert (summary.agreement, summary.by_chance, summary.kappa) == (1.0, 1.0, None)
    assert summary.labels[0].correlation is None


def test_each_pair_of_models_has_its_own_summary() -> None:
    mixed = [
        comparison("a", ("allow", 0.1), ("allow", 0.1), version="3", minute=5),
        comparison("b", ("allow", 0.1), ("allow", 0.1), version="2"),
        comparison("c", ("allow", 0.1), ("allow", 0.1), version="3"),
    ]
    assert [len(group) for group in grouped(mixed)] == [1, 2]


def test_the_report_of_a_topic(real_broker: RealBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    kafka = real_broker.settings()
    topic = f"{kafka.verdicts_topic}.shadow"
    monkeypatch.setenv("SLUICE_SHADOW__TOPIC", topic)
    create_topics(kafka, [TopicSpec(topic, partitions=1)])
    nothing = sluice(kafka, "shadow", "report")
    assert nothing.exit_code == 1
    assert f"nothing was compared on {topic}: set `shadow.filter`" in nothing.stderr

    producer = BrokerProducer(kafka)
    values = [each.model_dump_json().encode() for each in examples()]
    for value in (*values, b"not a comparison"):
        producer.send(Outgoing(topic, b"key", value)).result(10.0)
    producer.close(5.0)
    done = sluice(kafka, "shadow", "report")
    assert done.exit_code == 0, done.output
    assert "filter@2 on trial beside filter@1" in done.stdout
    assert "same decision: 80.0% (95 %: 49.0% to 94.3%; by chance 47.0%, kappa 0.62)" in done.stdout
    assert "review -> block" in done.stdout
    as_json = json.loads(sluice(kafka, "shadow", "report", "--json").stdout)
    assert as_json["compared"] == 10
    late = sluice(kafka, "shadow", "report", "--since", (NOON + timedelta(hours=1)).isoformat())
    assert late.exit_code == 1
