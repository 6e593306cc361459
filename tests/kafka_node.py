"""One node of Apache Kafka (KRaft, in one folder, on the loopback), or several of them as a cluster."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

CLUSTER_ID = "5L6g3nShT-eMCtK--X86sw"
START_TIMEOUT_S = 180.0  # machines are shared and busy
NODE_PROPERTIES = """
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=CLIENT://{listen}:{client},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=CLIENT://{advertised}
listener.security.protocol.map=CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=CLIENT
log.dirs={data}
num.partitions=4
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
num.network.threads=2
num.io.threads=4
log.cleaner.dedupe.buffer.size=16777216
message.max.bytes=67108864
"""
REPLICATED_PROPERTIES = """
default.replication.factor=3
min.insync.replicas=2
offsets.topic.replication.factor=3
transaction.state.log.replication.factor=3
transaction.state.log.min.isr=2
"""


class KafkaNode:
    """`with KafkaNode(home, folder) as node: node.bootstrap`"""

    def __init__(
        self,
        home: Path,
        folder: Path,
        extra: str = "",
        *,
        host: str = "127.0.0.1",
        controller_port: int | None = None,
    ) -> None:
        """``extra``: further properties; of two equal names the later counts."""
        self._home = home
        self._host = host
        self._log = folder / "node.log"
        self._properties = folder / "node.properties"
        self.data = folder / "data"
        self.port = free_port()
        properties = NODE_PROPERTIES.format(
            listen=host,
            client=self.port,
            advertised=self.bootstrap,
            controller=controller_port or free_port(),
            data=self.data,
        )
        self._properties.write_text(properties + extra)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap(self) -> str:
        return f"{self._host}:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None, "not started"
        return self._process.pid

    def __enter__(self) -> KafkaNode:
        self.format()
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def format(self) -> None:
        command = ("kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", str(self._properties))
        subprocess.run(self._java(*command), check=True, capture_output=True, timeout=START_TIMEOUT_S)

    def start(self) -> None:
        self.launch()
        self.wait_until_started()

    def launch(self) -> None:
        """Without waiting: a node of a cluster starts only when the others do."""
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._java("kafka.Kafka", str(self._properties)),
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def wait_until_started(self) -> None:
        assert self._process is not None, "not launched"
        give_up_s = time.monotonic() + START_TIMEOUT_S
        while not (_answers(self._host, self.port) and b"Kafka Server started" in self._log.read_bytes()):
            if self._process.poll() is not None or time.monotonic() > give_up_s:
                raise RuntimeError(f"Apache Kafka did not start: {self._log.read_text()[-2000:]}")
            time.sleep(0.1)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Ends the process; its log stays and `start` goes on with it."""
        if self._process is None:
            return
        self._process.send_signal(how)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _java(self, *arguments: str) -> list[str]:
        options = ["-Xmx256m", "-Xms64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        logging = next(
            (p for p in (self._home / "log4j2.yaml", self._home / "config/log4j2.yaml") if p.exists()), None
        )
        if logging is not None:
            options.append(f"-Dlog4j2.configurationFile={logging}")
        return ["java", *options, "-cp", f"{self._home}/libs/*", *arguments]


@contextmanager
def kafka_cluster(home: Path, folder: Path, host: str = "127.0.0.1") -> Iterator[tuple[KafkaNode, ...]]:
    """Three nodes, each broker and controller; replication 3, min.insync.replicas 2."""
    ports = [free_port() for _ in range(3)]
    voters = ",".join(f"{number}@127.0.0.1:{port}" for number, port in enumerate(ports, 1))
    nodes = []
    for number, port in enumerate(ports, 1):
        own = folder / f"node-{number}"
        own.mkdir()
        extra = f"{REPLICATED_PROPERTIES}node.id={number}\ncontroller.quorum.voters={voters}\n"
        nodes.append(KafkaNode(home, own, extra, host=host, controller_port=port))
    with ExitStack() as stack:
        for node in nodes:
            node.format()
            stack.callback(node.stop, signal.SIGKILL)  # in order, the last one would wait for the others
            node.launch()
        for node in nodes:
            node.wait_until_started()
        yield tuple(nodes)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.2)
        return probe.connect_ex((host, port)) == 0
