"""`sluice requeue`: uploads that have a verdict already are published once more, from their source.

Chosen by the live verdict, the latest of its key. What was requeued before and is still waiting is left
out: it stands between the group's committed offsets and the end of the uploads topic, and its header
says where it was taken from. What was answered since has another verdict, with another source.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import click

from worker.commands.filters import within
from worker.commands.republish import NotPossible, republish
from worker.commands.watch import read_verdict
from worker.messages import Verdict
from worker.settings import KafkaSettings
from worker.stream.client import Lookup, committed_offsets, producing, read_topic
from worker.stream.types import Outgoing, Place, Record

REQUEUED = "sluice.requeued"  # header: the place from which the record was taken


@dataclass(frozen=True, slots=True)
class VerdictFilter:
    """Which verdicts are meant; what is empty or None matches all."""

    upload_ids: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    decisions: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None

    def matches(self, verdict: Verdict) -> bool:
        return (
            (not self.upload_ids or verdict.upload_id in self.upload_ids)
            and (not self.reasons or verdict.reason in self.reasons)
            and (not self.decisions or verdict.decision in self.decisions)
            and within(verdict.decided_at, self.since, self.until)
        )


@dataclass(frozen=True, slots=True)
class _Task:
    upload_id: str
    reason: str
    source: Place | None


def requeue_uploads(settings: KafkaSettings, wanted: VerdictFilter, *, dry_run: bool) -> int:
    """Publish the sources of matching live verdicts again. Returns how many could not be."""
    matching = _matching(settings, wanted)
    waiting = _waiting(settings) if matching else set()
    tasks = [task for task in matching if str(task.source).encode() not in waiting]
    if len(tasks) < len(matching):
        click.echo(f"already waiting: {len(matching) - len(tasks)}")
    if dry_run:
        for task in tasks:
            click.echo(f"would requeue {task.upload_id} ({task.reason or 'judged'}, from {task.source})")
        click.echo(f"would requeue: {len(tasks)}")
        return 0
    with Lookup(settings) as lookup, producing(settings) as producer:
        return republish(
            producer, tasks, lambda task: _again(task, lookup, settings.uploads_topic), what="requeueing"
        )


def _matching(settings: KafkaSettings, wanted: VerdictFilter) -> Sequence[_Task]:
    found: dict[bytes | None, _Task] = {}
    for record in read_topic(settings, settings.verdicts_topic):
        found.pop(record.key if isinstance(record, Record) else None, None)  # the later one counts
        verdict = read_verdict(record) if isinstance(record, Record) else None
        if verdict is not None and wanted.matches(verdict):
            at = verdict.source
            source = None if at is None else Place(at.topic, at.partition, at.offset)
            found[verdict.upload_id.encode()] = _Task(verdict.upload_id, verdict.reason, source)
    return list(found.values())


def _waiting(settings: KafkaSettings) -> set[bytes]:
    """The sources of those that were requeued and that no worker has answered yet."""
    starts = committed_offsets(settings, settings.uploads_topic)
    return {
        dict(record.headers)[REQUEUED]
        for record in read_topic(settings, settings.uploads_topic, starts)
        if isinstance(record, Record) and REQUEUED in dict(record.headers)
    }


def _again(task: _Task, lookup: Lookup, topic: str) -> Outgoing:
    if task.source is None:
        raise NotPossible(f"{task.upload_id}: its verdict names no source")
    record = lookup.record(task.source)
    if record is None:
        raise NotPossible(f"{task.upload_id}: {task.source} is gone or cannot be read")
    kept = tuple(header for header in record.headers if header[0] != REQUEUED)
    return Outgoing(topic, record.key, record.value, (*kept, (REQUEUED, str(task.source).encode())))
