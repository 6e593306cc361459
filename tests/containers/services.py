"""Kafka and Redis by testcontainers, from the official images or from images built to match them."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from tests import parts
from tests.kafka_node import CLUSTER_ID, NODE_PROPERTIES

CLIENT_PORT = 9092
START_TIMEOUT_S = 90


@contextmanager
def kafka() -> Iterator[str]:
    """One node; yields its bootstrap address on the loopback."""
    from testcontainers.core.container import DockerContainer
    from testcontainers.core.wait_strategies import LogMessageWaitStrategy

    port = _free_port()  # the node advertises it, so it is chosen before the container starts
    ready = LogMessageWaitStrategy("Kafka Server started").with_startup_timeout(START_TIMEOUT_S)
    container = (
        DockerContainer(parts.kafka_image())
        .with_bind_ports(CLIENT_PORT, port)
        .with_command(["sh", "-c", start_node(f"127.0.0.1:{port}")])
        .waiting_for(ready)
    )
    with container:
        yield f"{container.get_container_host_ip()}:{port}"


def start_node(advertised: str) -> str:
    """What a shell runs in a container with Kafka in /opt/kafka."""
    properties = NODE_PROPERTIES.format(
        listen="0.0.0.0", client=CLIENT_PORT, advertised=advertised, controller=9093, data="/tmp/kafka-data"
    )
    return (
        f"cat > /tmp/node.properties <<'EOF'\n{properties}\nEOF\n"
        f"/opt/kafka/bin/kafka-storage.sh format -t {CLUSTER_ID} -c /tmp/node.properties\n"
        "exec /opt/kafka/bin/kafka-server-start.sh /tmp/node.properties\n"
    )


@contextmanager
def redis() -> Iterator[str]:
    """Yields a redis:// URL."""
    from testcontainers.community.redis import RedisContainer

    with RedisContainer(parts.redis_image()) as container:
        yield f"redis://{container.get_container_host_ip()}:{container.get_exposed_port(6379)}/0"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
