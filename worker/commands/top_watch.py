"""`sluice top`: what a group of workers does, live. Asks the workers' metrics ports and the broker."""

from __future__ import annotations

import socket
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime

from rich.console import Console
from rich.live import Live

from worker.commands.top_view import Frame, Trouble, WorkerRow, frame_view
from worker.commands.watch import read_verdict
from worker.errors import BrokerUnavailable, SettingsError
from worker.settings import KafkaSettings
from worker.stream.client import Tail
from worker.stream.client.lag import GroupLag, PartitionLag
from worker.telemetry.scrape import Reading, Summed, Window, read_worker

ANSWER_S = 2.0  # a worker that takes longer is shown as silent
LIVE_WINDOW_S = 60.0
RECENT_VERDICTS = 50  # of each partition, looked through for errors at the start
MAX_TROUBLES = 8


def run_top(kafka: KafkaSettings, workers: Sequence[str], *, interval_s: float, once: bool) -> None:
    """Until Ctrl-C, or one frame. ``workers``: host:port; a name stands for all of its addresses.

    Raises SettingsError for an address that is none, or a topic that is not there; BrokerUnavailable when
    the broker does not answer at the start.
    """
    console = Console()
    with ExitStack() as stack:
        lag = stack.enter_context(GroupLag(kafka))
        tail = stack.enter_context(Tail(kafka, kafka.verdicts_topic, back=RECENT_VERDICTS))
        watched = _Watched(kafka, workers, lag, tail)
        if once:
            watched.look()
            time.sleep(interval_s)
            console.print(frame_view(watched.look(since_start=True)))
            return
        try:
            with Live(console=console, auto_refresh=False, screen=console.is_terminal) as live:
                while True:
                    live.update(frame_view(watched.look()), refresh=True)
                    time.sleep(interval_s)
        except KeyboardInterrupt:
            return


@dataclass
class _Watched:
    kafka: KafkaSettings
    workers: Sequence[str]
    lag: GroupLag
    tail: Tail
    _readings: dict[str, deque[Reading]] = field(default_factory=dict)
    _troubles: deque[Trouble] = field(default_factory=lambda: deque(maxlen=MAX_TROUBLES))

    def look(self, *, since_start: bool = False) -> Frame:
        """``since_start``: shares and latencies since the workers' start rather than of the last minute."""
        self._troubles.extend(self._new_troubles())
        rows, rates, shares = [], [], []
        for address in self._addresses():
            try:
                reading = read_worker(address, ANSWER_S)
            except OSError as error:
                self._readings.pop(address, None)
                rows.append(WorkerRow(address, f"does not answer: {error}", Summed([]), Summed([])))
                continue
            earlier = self._earlier(address, reading)
            recent = Window(earlier, reading)
            long = Window(None, reading) if since_start else recent
            rates.append(recent)
            shares.append(long)
            rows.append(WorkerRow(address, reading.failing, Summed([recent]), Summed([long])))
        partitions, broker = self._partitions()
        return Frame(
            at=datetime.now(UTC),
            group=self.kafka.group_id,
            broker=self.kafka.bootstrap_servers,
            broker_trouble=broker,
            span="since their start" if since_start else f"last {LIVE_WINDOW_S:.0f} s",
            workers=tuple(rows),
            rates=Summed(rates),
            shares=Summed(shares),
            partitions=partitions,
            troubles=tuple(self._troubles),
        )

    def _earlier(self, address: str, reading: Reading) -> Reading | None:
        """The oldest reading of the live window; None at first sight."""
        kept = self._readings.setdefault(address, deque())
        while kept and reading.at_s - kept[0].at_s > LIVE_WINDOW_S:
            kept.popleft()
        kept.append(reading)
        return kept[0] if len(kept) > 1 else None

    def _addresses(self) -> Iterator[str]:
        """Names are looked up every time: pods come and go."""
        seen = set()
        for name in self.workers:
            host, port = _host_and_port(name)
            try:
                found = sorted(
                    {str(info[4][0]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
                )
            except OSError:
                found = [host]  # shown as silent, with the reason
            for address in _preferred(found):
                shown = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
                if shown not in seen:
                    seen.add(shown)
                    yield shown

    def _partitions(self) -> tuple[dict[int, PartitionLag], str]:
        try:
            return self.lag.now(), ""
        except BrokerUnavailable as error:
            return {}, str(error)

    def _new_troubles(self) -> Iterator[Trouble]:
        try:
            records = self.tail.poll(0.0)
        except BrokerUnavailable:
            return  # the table of partitions says so
        for record in records:
            verdict = read_verdict(record)
            if verdict is not None and verdict.reason:
                yield Trouble(verdict.decided_at, verdict.upload_id, verdict.reason, verdict.detail)


def _host_and_port(name: str) -> tuple[str, int]:
    host, _, port = name.rpartition(":")
    if not host or not port.isdigit():
        raise SettingsError(f"--worker {name!r}: expected host:port, for example localhost:9464")
    return host.strip("[]"), int(port)


def _preferred(addresses: Sequence[str]) -> list[str]:
    """A name that has addresses of both kinds names one worker by each: IPv4 where there is one."""
    return [address for address in addresses if ":" not in address] or list(addresses)
