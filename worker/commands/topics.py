"""`sluice topics`: what the topics need so that nothing is lost, and where they fall short of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from worker.commands.filters import filters, settings_at
from worker.settings import Settings
from worker.stream.topics import RETENTION_S, USUAL_REPLICAS, Described, mismatches, needed

Command = TypeVar("Command", bound=Callable[..., Any])
COUNT = click.IntRange(min=1)


def expectations(command: Command) -> Command:
    """The options of what is needed, the same for looking and for creating."""
    options = (
        filters("broker"),
        click.option(
            "--partitions",
            type=COUNT,
            default=4,
            show_default=True,
            help="Of uploads, at least: so many workers can share them. Of verdicts where they are created.",
        ),
        click.option(
            "--replicas", type=COUNT, help=f"At least; default: {USUAL_REPLICAS}, or one for each broker."
        ),
        click.option(
            "--min-insync-replicas", type=COUNT, help="At least; default: one fewer than three replicas."
        ),
        click.option(
            "--retention-hours",
            type=click.FloatRange(min=0, min_open=True),
            default=RETENTION_S / 3600,
            show_default=True,
            help="Of uploads and dead letters, at least.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.group()
def topics() -> None:
    """Compare the topics with what Sluice needs of them, or create those that are missing."""


@topics.command()
@expectations
def check(broker: str | None, **expected: Any) -> None:
    """Look at the topics of uploads, verdicts and dead letters, and at what this user may do.

    Changes nothing. Ends with code 1 when something has to be put right; says what, and how.
    """
    settings = settings_at(broker)
    report(settings, _described(settings), **expected)


@topics.command()
@expectations
def create(broker: str | None, **expected: Any) -> None:
    """Create the topics that are missing, then check them all.

    A topic that is there is never changed.
    """
    from worker.stream.client import create_topics

    settings = settings_at(broker)
    wanted = _needed(settings, _described(settings).brokers, **expected)
    for name in create_topics(settings.kafka, wanted):
        click.echo(f"created   {name}")
    report(settings, _described(settings), **expected)


def report(settings: Settings, found: Described, **expected: Any) -> None:
    """Print each topic or what is wrong with it. Raises ClickException when something is."""
    for name, topic in found.topics.items():
        click.echo(
            f"found     {name}: {topic.partitions} partitions, {topic.replicas} replicas, "
            f"cleanup.policy={topic.configs.get('cleanup.policy', '?')}"
        )
    kafka = settings.kafka
    wrong = list(mismatches(_needed(settings, found.brokers, **expected), found, kafka.group_id))
    for text in wrong:
        click.echo(f"mismatch  {text}")
    if wrong:
        raise click.ClickException(
            f"{len(wrong)} to put right at {kafka.bootstrap_servers}, or expect less: `sluice topics --help`"
        )
    click.echo(f"ok        the topics at {kafka.bootstrap_servers} are as needed")


def _needed(settings: Settings, brokers: int, *, retention_hours: float, **expected: Any) -> Any:
    return needed(
        settings.kafka,
        brokers=brokers,
        retention_s=retention_hours * 3600,
        shadow_topic=settings.shadow_topic,
        **expected,
    )


def _described(settings: Settings) -> Described:
    from worker.stream.client import describe

    return describe(settings.kafka, settings.topics)
