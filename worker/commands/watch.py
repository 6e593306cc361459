"""`sluice watch`: verdicts as they arrive."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator

from pydantic import ValidationError
from rich.console import Console
from rich.live import Live

from worker.commands.show import verdict_table
from worker.messages import Verdict
from worker.settings import KafkaSettings
from worker.stream.client import Tail
from worker.stream.types import Record

POLL_S = 0.25


def watch_verdicts(settings: KafkaSettings, *, from_beginning: bool, as_json: bool) -> None:
    """Show verdicts until Ctrl-C."""
    with Tail(settings, settings.verdicts_topic, from_beginning) as tail:
        try:
            if as_json:
                for record in tail:
                    sys.stdout.write((record.value or b"").decode("utf-8", "replace") + "\n")
                    sys.stdout.flush()
            else:
                _live_table(tail, settings.verdicts_topic)
        except KeyboardInterrupt:
            return


def read_verdict(record: Record) -> Verdict | None:
    """None for what is not a verdict of ours: a tombstone, or somebody else's record."""
    try:
        return Verdict.model_validate_json(record.value or b"")
    except ValidationError:
        return None


def verdicts(tail: Tail) -> Iterator[Verdict]:
    """Those that have arrived by now."""
    for record in tail.poll(POLL_S):
        verdict = read_verdict(record)
        if verdict is not None:
            yield verdict


def _live_table(tail: Tail, topic: str) -> None:
    console = Console()
    latest: deque[tuple[str, Verdict]] = deque(maxlen=max(5, console.height - 8))
    with Live(console=console, auto_refresh=False) as live:
        while True:
            latest.extend((verdict.upload_id, verdict) for verdict in verdicts(tail))
            live.update(verdict_table(f"{topic}: the last {len(latest)} verdicts", latest), refresh=True)
