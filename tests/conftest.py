"""Fixtures over real parts, and the summary of which of them ran.

`broker` runs a test over the fake, the embedded broker, Apache Kafka and testcontainers; `real_broker`
leaves out the fake; `redis_url` does the same for caches. Servers start once in a session, on demand.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from tests import parts
from tests.brokers import BrokerUnderTest, FakeBrokerUnderTest, RealBroker
from tests.kafka_node import KafkaNode
from worker.standalone import EmbeddedBroker, EmbeddedCache

EMBEDDED_TEST_SESSION_TIMEOUT_S = 2.5  # a join takes half of it
# Machines are shared and busy: how long an example takes says nothing about the code.
hypothesis.settings.register_profile(
    "shared-machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("shared-machine")

EMBEDDED_BROKER = "embedded broker (Tansu)"
APACHE_KAFKA = "Apache Kafka"
CONTAINER_KAFKA = "Kafka in a container"
EMBEDDED_CACHE = "embedded cache (Valkey)"
REDIS_SERVER = "redis-server"
CONTAINER_REDIS = "Redis in a container"
PARTS = (EMBEDDED_BROKER, APACHE_KAFKA, CONTAINER_KAFKA, EMBEDDED_CACHE, REDIS_SERVER, CONTAINER_REDIS)

REAL_BROKERS = [
    pytest.param("embedded_broker", id="tansu"),
    pytest.param("apache_kafka", id="kafka", marks=pytest.mark.kafka),
    pytest.param("container_kafka", id="container", marks=pytest.mark.containers),
]
CACHES = [
    pytest.param("embedded_cache", id="valkey"),
    pytest.param("redis_server", id="redis"),
    pytest.param("container_redis", id="container", marks=pytest.mark.containers),
]
CONTAINERS_ELSEWHERE = "no Docker engine answers; `make test-containers` runs them"


@pytest.fixture(scope="session")
def embedded_broker() -> Iterator[RealBroker]:
    with EmbeddedBroker() as bootstrap:
        yield RealBroker(EMBEDDED_BROKER, bootstrap, EMBEDDED_TEST_SESSION_TIMEOUT_S)


@pytest.fixture(scope="session")
def apache_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealBroker]:
    with KafkaNode(parts.kafka_home(), tmp_path_factory.mktemp("kafka")) as node:
        yield RealBroker(APACHE_KAFKA, node.bootstrap, session_timeout_s=3.0)


@pytest.fixture(scope="session")
def container_kafka() -> Iterator[RealBroker]:
    from tests.containers import services

    parts.docker_engine()
    with services.kafka() as bootstrap:
        yield RealBroker(CONTAINER_KAFKA, bootstrap, session_timeout_s=3.0)


@pytest.fixture(params=REAL_BROKERS)
def real_broker(request: pytest.FixtureRequest) -> BrokerUnderTest:
    return _used(request.getfixturevalue(request.param))


@pytest.fixture(params=[pytest.param("fake", id="fake"), *REAL_BROKERS])
def broker(request: pytest.FixtureRequest) -> BrokerUnderTest:
    if request.param == "fake":
        return FakeBrokerUnderTest()
    return _used(request.getfixturevalue(request.param))


@pytest.fixture(scope="session")
def embedded_cache() -> Iterator[str]:
    with EmbeddedCache() as url:
        yield url


@pytest.fixture(scope="session")
def redis_server() -> Iterator[str]:
    binary = shutil.which("redis-server")
    if binary is None:
        parts.miss(REDIS_SERVER, "not installed; Valkey stands for it")
    with EmbeddedCache(Path(binary)) as url:
        yield url


@pytest.fixture(scope="session")
def container_redis() -> Iterator[str]:
    from tests.containers import services

    parts.docker_engine()
    with services.redis() as url:
        yield url


@pytest.fixture(params=CACHES)
def redis_url(request: pytest.FixtureRequest) -> str:
    """An empty server that speaks Redis' protocol."""
    import redis

    url: str = request.getfixturevalue(request.param)
    names = {
        "embedded_cache": EMBEDDED_CACHE,
        "redis_server": REDIS_SERVER,
        "container_redis": CONTAINER_REDIS,
    }
    parts.used[names[request.param]] += 1
    with redis.Redis.from_url(url) as server:
        server.flushall()
    return url


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where no engine runs, tests over containers belong to `make test-containers`."""
    if "containers" in str(config.getoption("-m")) or parts.docker_runs():
        return
    apart = [item for item in items if item.get_closest_marker("containers")]
    if apart:
        config.hook.pytest_deselected(items=apart)
        items[:] = [item for item in items if not item.get_closest_marker("containers")]
        parts.absent[CONTAINER_KAFKA] = parts.absent[CONTAINER_REDIS] = CONTAINERS_ELSEWHERE


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    names = [name for name in (*PARTS, *parts.used, *parts.absent) if name in {**parts.used, **parts.absent}]
    if not names:
        return
    terminalreporter.section("real parts")
    for name in dict.fromkeys(names):
        ran = parts.used[name]
        said = f"ran in {ran} tests" if ran else f"did not run: {parts.absent[name]}"
        terminalreporter.write_line(f"{name:<24} {said}")


def _used(broker: RealBroker) -> RealBroker:
    parts.used[broker.name] += 1
    return broker
