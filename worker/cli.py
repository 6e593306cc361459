"""The command line. Every command loads what it needs when it runs, so that `sluice --help` is quick."""

from __future__ import annotations

import json
import os
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import click

from worker import __version__
from worker.commands.filters import filters, require_filter, settings_at
from worker.commands.health import health
from worker.commands.pull import pull
from worker.commands.shadow import shadow
from worker.commands.top import top
from worker.commands.topics import topics
from worker.configuration import load_settings, masked
from worker.errors import SluiceError


class _Group(click.Group):
    """Adds the commands that other parts bring as entry points; one that needs an extra says which."""

    def __init__(self, *arguments: Any, brought: str, extra: str, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._brought = brought  # the group of entry points
        self._extra = extra

    def list_commands(self, context: click.Context) -> list[str]:
        brought = entry_points(group=self._brought)
        return sorted({*super().list_commands(context), *(entry.name for entry in brought)})

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        for entry in entry_points(group=self._brought):
            if entry.name == name:
                return _load(entry, self._extra)
        return super().get_command(context, name)


def _load(entry: Any, extra: str) -> click.Command:
    try:
        command = entry.load()
    except ModuleNotFoundError as error:
        missing = error.name
        return click.Command(
            entry.name,
            callback=lambda: _fail(f"`{entry.name}` needs {missing}: pip install 'sluice[{extra}]'"),
            context_settings={"ignore_unknown_options": True},
            params=[click.Argument(["arguments"], nargs=-1, expose_value=False)],
            short_help=f"(needs the {extra} extra)",
        )
    assert isinstance(command, click.Command)
    return command


def _fail(message: str) -> None:
    raise click.ClickException(message)


@click.group(
    cls=_Group,
    brought="sluice.commands",
    extra="trainer",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="sluice")
def cli() -> None:
    """Streaming, real-time video moderation: uploads from Kafka in, verdicts out."""


@cli.command()
def worker() -> None:
    """Moderate the uploads topic until SIGTERM."""
    from worker.app import run_worker

    code = run_worker(load_settings())
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # threads that were abandoned in the middle of an upload must not hold the process


@cli.command()
@click.option(
    "--media",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Judge the videos of this folder instead of the samples.",
)
@click.option("--keep", is_flag=True, help="Leave broker, cache and worker running until Ctrl-C.")
def demo(media: Path | None, keep: bool) -> None:
    """Start a broker, a cache and a worker, publish uploads and show the verdicts."""
    from worker.commands.demo import run_demo

    sys.exit(run_demo(media, keep=keep))


@cli.command()
@click.argument("uploads", nargs=-1, required=True, metavar="FILE|URI...")
@filters("broker")
@click.option("--topic", help="Default: the settings' uploads topic.")
@click.option("--policy", help="Name of the policy to judge by.")
@click.option("--tenant", default="")
@click.option(
    "--priority", type=click.Choice(["live", "standard", "batch"]), default="standard", show_default=True
)
@click.option("--upload-id", help="For a single upload; default: made from the file's name.")
def publish(uploads: tuple[str, ...], broker: str | None, topic: str | None, **event: Any) -> None:
    """Publish files (inside the record) or URIs (s3://, https://, file://) as uploads."""
    from worker.commands.publish import publish_uploads

    for upload_id in publish_uploads(settings_at(broker, uploads_topic=topic).kafka, uploads, **event):
        click.echo(upload_id)


@cli.command()
@filters("broker")
@click.option("--topic", help="Default: the settings' verdicts topic.")
@click.option("--from-beginning", is_flag=True, help="Show what is already there as well.")
@click.option("--json", "as_json", is_flag=True, help="One verdict a line, as it is on the wire.")
def watch(broker: str | None, topic: str | None, from_beginning: bool, as_json: bool) -> None:
    """Show verdicts as they arrive."""
    from worker.commands.watch import watch_verdicts

    watch_verdicts(
        settings_at(broker, verdicts_topic=topic).kafka, from_beginning=from_beginning, as_json=as_json
    )


@cli.command()
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option("--policy", help="Name of the policy to judge by.")
def moderate(files: tuple[Path, ...], policy: str | None) -> None:
    """Judge FILES here, without a broker: one verdict a line on standard output, as JSON."""
    from worker.commands.moderate import moderate_files

    moderate_files(load_settings(), files, policy)


@cli.command()
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option("--model", default="", help="name or name@version; default: the settings' filter.")
@click.option("--clips", is_flag=True, help="The vector of every clip beside the video's.")
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="Write here, whole or not at all."
)
def embed(files: tuple[Path, ...], model: str, clips: bool, out: Path | None) -> None:
    """Print an embedding of each of FILES: one JSON object a line."""
    from worker.commands.embed import embed_files

    embed_files(load_settings(), files, model, out, clips)


@cli.group()
def similar() -> None:
    """Keep an index of past uploads, and search it by similarity."""


@similar.command("add")
@click.argument("index", type=click.Path(file_okay=False, path_type=Path))
@click.argument("sources", nargs=-1, required=True, metavar="VIDEO|LINES.jsonl|-...")
@click.option("--model", default="", help="Of videos: name or name@version; default: the settings' filter.")
def similar_add(index: Path, sources: tuple[str, ...], model: str) -> None:
    """Add videos, lines of `sluice embed`, or verdicts.

    Of a running worker: sluice watch --json | sluice similar add INDEX -
    """
    from worker.commands.similar import add

    add(load_settings(), index, sources, model)


@similar.command("search")
@click.argument("index", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("query", metavar="ID|VIDEO")
@click.option("-k", "--count", default=10, show_default=True, type=click.IntRange(1, 1000))
@click.option("--model", default="", help="Of a video: name or name@version; default: the settings' filter.")
@click.option("--json", "as_json", is_flag=True, help="One match a line: id, sha256, cosine.")
def similar_search(index: Path, query: str, count: int, model: str, as_json: bool) -> None:
    """Print what is nearest to an id of the index or to a video: cosine and id, the nearest first."""
    from worker.commands.similar import search

    search(load_settings(), index, query, count=count, model=model, as_json=as_json)


@cli.group()
def dlq() -> None:
    """Look at dead letters: records without a readable upload id; redrive or drop them."""


@dlq.command("list")
@filters("reason", "since", "until", "broker")
@click.option("--settled", is_flag=True, help="Also those that were redriven or dropped.")
@click.option("--json", "as_json", is_flag=True, help="One letter a line, as JSON.")
def dlq_list(broker: str | None, settled: bool, as_json: bool, **wanted: Any) -> None:
    """List open letters: PARTITION/OFFSET, time, state, reason, source, message."""
    from worker.commands.dlq import LetterFilter, list_letters

    list_letters(settings_at(broker).kafka, LetterFilter(**wanted), settled=settled, as_json=as_json)


@dlq.command("show")
@click.argument("places", nargs=-1, required=True, metavar="PARTITION/OFFSET...")
@filters("broker")
def dlq_show(broker: str | None, places: tuple[str, ...]) -> None:
    """Print letters whole, as JSON: headers, and the beginning of the value."""
    from worker.commands.dlq import show_letters

    show_letters(settings_at(broker).kafka, places)


@dlq.command("redrive")
@click.argument("places", nargs=-1, metavar="[PARTITION/OFFSET...]")
@filters("reason", "since", "until", "all", "dry_run", "broker")
def dlq_redrive(broker: str | None, dry_run: bool, everything: bool, **wanted: Any) -> None:
    """Publish the originals of open letters to the uploads topic once more.

    What was redriven or dropped before is left out. Ends with code 1 when some could not be published.
    """
    from worker.commands.dlq import LetterFilter, redrive_letters

    require_filter(everything, **wanted)
    sys.exit(1 if redrive_letters(settings_at(broker).kafka, LetterFilter(**wanted), dry_run=dry_run) else 0)


@dlq.command("drop")
@click.argument("places", nargs=-1, metavar="[PARTITION/OFFSET...]")
@filters("reason", "since", "until", "all", "dry_run", "broker")
def dlq_drop(broker: str | None, dry_run: bool, everything: bool, **wanted: Any) -> None:
    """Settle open letters without publishing them.

    Kafka deletes from the front of a partition only: letters go up to the first that is still open, the
    rest with the topic's retention.
    """
    from worker.commands.dlq import LetterFilter, drop_letters

    require_filter(everything, **wanted)
    drop_letters(settings_at(broker).kafka, LetterFilter(**wanted), dry_run=dry_run)


@cli.command()
@click.argument("upload_ids", nargs=-1, metavar="[UPLOAD_ID...]")
@filters("reason", "since", "until", "all", "dry_run", "broker")
@click.option(
    "--decision",
    "decisions",
    multiple=True,
    type=click.Choice(["allow", "review", "block"]),
    help="May be repeated.",
)
def requeue(broker: str | None, dry_run: bool, everything: bool, **wanted: Any) -> None:
    """Have uploads judged once more, chosen by their latest verdict: its reason, decision or time.

    What was requeued before and still waits is left out. Ends with code 1 when some could not be published.
    """
    from worker.commands.requeue import VerdictFilter, requeue_uploads

    require_filter(everything, **wanted)
    sys.exit(1 if requeue_uploads(settings_at(broker).kafka, VerdictFilter(**wanted), dry_run=dry_run) else 0)


cli.add_command(health)
cli.add_command(shadow)
cli.add_command(top)
cli.add_command(topics)


@cli.command()
@click.option("--uploads-per-day", type=click.FloatRange(min=0, min_open=True), required=True)
@click.option(
    "--mean-duration", "mean_duration_s", type=float, required=True, help="Seconds of the mean upload."
)
@click.option("--height", type=int, default=720, show_default=True, help="Lines of the pictures.")
@click.option(
    "--escalated",
    "escalated_share",
    type=click.FloatRange(0, 1),
    default=0.1,
    show_default=True,
    help="Share of uploads that go up to the escalation model; of a running fleet: sluice_escalated_uploads.",
)
@click.option(
    "--cached",
    "cached_share",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default=True,
    help="Share of uploads whose content was seen before.",
)
@click.option(
    "--peak-factor",
    type=click.FloatRange(min=1),
    default=2.0,
    show_default=True,
    help="Rate of the busiest hour over that of the day.",
)
@click.option(
    "--headroom",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.3,
    show_default=True,
    help="Share of a worker that stays free at the peak.",
)
@click.option(
    "--p99-wait",
    "p99_wait_s",
    type=click.FloatRange(min=0, min_open=True),
    default=10.0,
    show_default=True,
    help="Seconds before its turn that one upload in a hundred may exceed at the peak.",
)
@click.option("--cores-per-worker", type=click.IntRange(min=1), help="Default: as measured.")
@click.option(
    "--gpu-rates",
    type=click.FloatRange(min=0, min_open=True),
    nargs=2,
    metavar="FILTER ESCALATION",
    help="A GPU in each worker, and the clips a second of each model that it was measured to score.",
)
@click.option("--core-price", type=click.FloatRange(min=0), help="Of a CPU core for an hour.")
@click.option("--gpu-price", type=click.FloatRange(min=0), help="Of a GPU for an hour.")
def capacity(
    headroom: float,
    p99_wait_s: float,
    cores_per_worker: int | None,
    gpu_rates: tuple[float, float] | None,
    core_price: float | None,
    gpu_price: float | None,
    **demand: Any,
) -> None:
    """Say how many workers, cores and GPUs a stream of uploads needs, and what they cost at your prices."""
    from worker.capacity import Demand, GpuRates, Terms
    from worker.commands.capacity import Prices, describe

    gpu = GpuRates(*gpu_rates) if gpu_rates else None
    terms = Terms(cores_per_worker, headroom, p99_wait_s, gpu=gpu)
    for line in describe(Demand(**demand), terms, Prices(core_price, gpu_price)):
        click.echo(line)


@cli.command()
@click.option("--format", "style", type=click.Choice(["yaml", "json"]), default="yaml", show_default=True)
def config(style: str) -> None:
    """Print the effective settings; secrets are masked."""
    import yaml

    tree = masked(load_settings())
    text = json.dumps(tree, indent=2) if style == "json" else yaml.safe_dump(tree, sort_keys=False)
    click.echo(text.rstrip())


@cli.group(cls=_Group, brought="sluice.models.commands", extra="models", invoke_without_command=True)
@click.pass_context
def models(context: click.Context) -> None:
    """List models, bring them from a store, or add one of your own."""
    if context.invoked_subcommand is None:
        context.invoke(list_models)


@models.command("list")
def list_models() -> None:
    """Print which models are installed, which are used, from where, and their sha256."""
    from worker.commands.models import describe_models

    for line in describe_models(load_settings()):
        click.echo(line)


models.add_command(pull)


def main() -> None:
    """Run the command line; what Sluice raises on purpose is shown as a message, not as a stack."""
    try:
        cli()
    except SluiceError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
