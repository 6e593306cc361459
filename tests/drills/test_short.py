"""The drills, seconds long: enough to see that they work and that the promises hold. `make drills` does more.

Times are not looked at here: a test machine is busy.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import parts
from tests.drills.brokers import Kind
from tests.drills.catalogue import BY_NAME
from tests.drills.running import opened, outcome, spoken
from tests.drills.stage import Size, Stage

SEED = 1
ON_EMBEDDED = ("worker-killed", "cache-hanging", "poison", "events-repeated", "model-damaged")
ON_KAFKA = ("takeover", "brokers-restarted", "worker-killed-exactly-once")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(420)]


@pytest.fixture(scope="module")
def embedded() -> Iterator[Stage]:
    with opened("embedded", Size.SHORT, SEED, print) as stage:
        yield stage


@pytest.fixture(scope="module")
def kafka() -> Iterator[Stage]:
    parts.kafka_home()
    with opened("kafka", Size.SHORT, SEED, print) as stage:
        yield stage


@pytest.mark.parametrize("name", ON_EMBEDDED)
def test_on_the_embedded_broker(embedded: Stage, name: str) -> None:
    check(embedded, "embedded", name)


@pytest.mark.kafka
@pytest.mark.parametrize("name", ON_KAFKA)
def test_on_apache_kafka(kafka: Stage, name: str) -> None:
    check(kafka, "kafka", name)


def check(stage: Stage, kind: Kind, name: str) -> None:
    drill = BY_NAME[name]
    assert not drill.why_not(kind)
    found = outcome(drill, stage, SEED)
    print(spoken(found))
    assert found["failures"] == []
    assert found["ledger"]["uploads_in"] > 0
