"""One node of Apache Kafka (KRaft, in one folder, on the loopback), from an unpacked distribution."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from pathlib import Path

CLUSTER_ID = "5L6g3nShT-eMCtK--X86sw"
START_TIMEOUT_S = 60.0
NODE_PROPERTIES = """
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=CLIENT://{listen}:{client},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=CLIENT://127.0.0.1:{advertised}
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


class KafkaNode:
    """`with KafkaNode(home, folder) as node: node.bootstrap`"""

    def __init__(self, home: Path, folder: Path, extra: str = "") -> None:
        """``extra``: further properties; of two equal names the later counts."""
        self._home = home
        self._log = folder / "node.log"
        self._properties = folder / "node.properties"
        self.data = folder / "data"
        self.port = _free_port()
        properties = NODE_PROPERTIES.format(
            listen="127.0.0.1",
            client=self.port,
            advertised=self.port,
            controller=_free_port(),
            data=self.data,
        )
        self._properties.write_text(properties + extra)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self.port}"

    def __enter__(self) -> KafkaNode:
        command = ("kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", str(self._properties))
        subprocess.run(self._java(*command), check=True, capture_output=True, timeout=START_TIMEOUT_S)
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._java("kafka.Kafka", str(self._properties)),
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        give_up_s = time.monotonic() + START_TIMEOUT_S
        while not (_answers(self.port) and b"Kafka Server started" in self._log.read_bytes()):
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


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.2)
        return probe.connect_ex(("127.0.0.1", port)) == 0
