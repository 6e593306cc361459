"""Publishing records once more: what `sluice dlq redrive` and `sluice requeue` share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TypeVar

import click

from worker.commands.progress import progress
from worker.errors import PublishFailed
from worker.stream.types import Outgoing, Producer

BATCH = 100  # records in flight at a time

T = TypeVar("T")


class NotPossible(Exception):
    """This one cannot be published again; the message says why."""


def republish(
    producer: Producer,
    things: Sequence[T],
    record_of: Callable[[T], Outgoing],
    *,
    what: str,
    done: Callable[[Sequence[T]], None] = lambda published: None,
) -> int:
    """Publish the record of each thing, in batches; ``done`` is told of those that the broker has.

    ``record_of`` may raise NotPossible. Prints what was not published, and how many were.
    Returns how many were not.
    """
    failed = 0
    with progress(what, len(things)) as advance:
        for start in range(0, len(things), BATCH):
            batch = things[start : start + BATCH]
            published = _published(producer, batch, record_of)
            done(published)
            failed += len(batch) - len(published)
            advance(len(batch))
    click.echo(f"published again: {len(things) - failed}, not possible: {failed}")
    return failed


def _published(producer: Producer, batch: Sequence[T], record_of: Callable[[T], Outgoing]) -> list[T]:
    sent: list[tuple[T, Future[None]]] = []
    for thing in batch:
        try:
            sent.append((thing, producer.send(record_of(thing))))
        except NotPossible as error:
            click.echo(str(error), err=True)
    published = []
    for thing, future in sent:
        try:
            future.result()
            published.append(thing)
        except PublishFailed as error:
            click.echo(str(error), err=True)
    return published
