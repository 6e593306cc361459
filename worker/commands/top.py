"""The command `sluice top`. What it does is loaded when it runs."""

from __future__ import annotations

import click

from worker.commands.filters import filters, settings_at


@click.command()
@filters("broker")
@click.option(
    "--worker",
    "workers",
    multiple=True,
    metavar="HOST:PORT",
    help="Metrics port of a worker; a name stands for all of its addresses. May be repeated. "
    "Default: localhost and the settings' port.",
)
@click.option(
    "--interval",
    "interval_s",
    type=click.FloatRange(min=0.2),
    default=2.0,
    show_default=True,
    help="Seconds between two looks.",
)
@click.option("--once", is_flag=True, help="Print one frame, with shares since the workers' start.")
def top(broker: str | None, workers: tuple[str, ...], interval_s: float, once: bool) -> None:
    """Show what a group of workers does: throughput, lag, latency, decisions, last errors."""
    from worker.commands.top_watch import run_top

    settings = settings_at(broker)
    named = workers or (f"localhost:{settings.telemetry.port}",)
    run_top(settings.kafka, named, interval_s=interval_s, once=once)
