"""The brokers that drills run on: embedded, one node of Apache Kafka, or three of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from kafka import KafkaAdminClient
from kafka.errors import KafkaError

from tests import parts
from tests.brokers import RealBroker, wait_for
from tests.kafka_node import KafkaNode, kafka_cluster
from worker.settings import KafkaSettings
from worker.standalone import EMBEDDED_SESSION_TIMEOUT_S, HOST, EmbeddedBroker

Kind = Literal["embedded", "kafka", "cluster"]
KAFKA_SESSION_TIMEOUT_S = 6.0


@dataclass
class DrillBroker(RealBroker):
    kind: Kind
    nodes: tuple[KafkaNode, ...] = ()  # none: it keeps everything in memory, so nothing survives a restart
    embedded_pid: int = 0

    def settings(self, topic: str = "") -> KafkaSettings:
        """With the product's own limits of time: they are drilled too."""
        usual = KafkaSettings()
        return (
            super()
            .settings(topic)
            .model_copy(
                update={
                    "request_timeout_s": usual.request_timeout_s,
                    "delivery_timeout_s": usual.delivery_timeout_s,
                }
            )
        )

    def wait_until_in_sync(self, timeout_s: float) -> None:
        """Until every replica of every partition has caught up. Raises AssertionError."""
        admin = KafkaAdminClient(bootstrap_servers=self.bootstrap.split(","))
        try:
            wait_for(lambda: _is_in_sync(admin), timeout_s, "all replicas are in sync")
        finally:
            admin.close()

    def pids(self) -> list[int]:
        return [node.pid for node in self.nodes] or [self.embedded_pid]


def _is_in_sync(admin: Any) -> bool:
    try:
        topics = admin.describe_topics()
    except KafkaError:  # its own connection was to the node that is away
        return False
    return all(
        len(partition["isr_nodes"]) == len(partition["replica_nodes"])
        for topic in topics
        for partition in topic["partitions"]
    )


@contextmanager
def started(kind: Kind, folder: Path, host: str = HOST) -> Iterator[DrillBroker]:
    """``host``: where Apache Kafka listens and says that it does."""
    if kind == "embedded":
        server = EmbeddedBroker()
        with server as bootstrap:
            yield DrillBroker(
                "embedded (Tansu)", bootstrap, EMBEDDED_SESSION_TIMEOUT_S, kind, embedded_pid=server.pid
            )
        return
    with _kafka(kind, folder, host) as nodes:
        bootstrap = ",".join(node.bootstrap for node in nodes)
        name = f"Apache Kafka, {'three nodes' if len(nodes) > 1 else 'one node'}"
        yield DrillBroker(name, bootstrap, KAFKA_SESSION_TIMEOUT_S, kind, nodes)


@contextmanager
def _kafka(kind: Kind, folder: Path, host: str) -> Iterator[tuple[KafkaNode, ...]]:
    home = parts.kafka_home()
    if kind == "cluster":
        with kafka_cluster(home, folder, host) as nodes:
            yield nodes
    else:
        with KafkaNode(home, folder, host=host) as node:
            yield (node,)
