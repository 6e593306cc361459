"""Faults on purpose: real workers, a real broker, a real cache, and one account of what went in and came out.

    python -m tests.drills [NAME ...] [--broker embedded|kafka|cluster] [--long] [--out FOLDER]

Without a name all of them (`--long`: those of which the long set has more). On three nodes of Apache Kafka
where KAFKA_HOME or the folder of real parts has one, else on the embedded broker. Each prints what it did
and what it counted, and writes a JSON file; without `--out` that is benchmarks/results/drills, and the table
of docs/reliability.md is written too. The exit code is 1 when a ledger did not balance.
"""

from __future__ import annotations

import secrets
import shutil
import signal
import sys
from pathlib import Path

import click

from benchmarks.report import write
from tests import parts
from tests.drills.brokers import Kind
from tests.drills.catalogue import BY_NAME, DRILLS, EVERY, LONG, Drill
from tests.drills.running import opened, outcome, spoken
from tests.drills.stage import Size
from tests.drills.table import PAGE, RESULTS, file_name, page


@click.command(help=__doc__)
@click.argument("names", nargs=-1, type=click.Choice(list(BY_NAME)), metavar="[NAME ...]")
@click.option("--broker", "kind", type=click.Choice(EVERY), help="Default: cluster, where there is one.")
@click.option("--long", "size", flag_value=Size.LONG.value, help="More of it, for hours.")
@click.option("--short", "size", flag_value=Size.SHORT.value, help="As in the test-suite.")
@click.option("--seed", type=int, help="Of what is random; default: another each time.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the JSON files.")
@click.option("--list", "as_list", is_flag=True, help="Show the drills and run none.")
def main(
    names: tuple[str, ...],
    kind: Kind | None,
    size: str | None,
    seed: int | None,
    out: Path | None,
    as_list: bool,
) -> None:
    if as_list:
        for drill in DRILLS:
            click.echo(f"{drill.name:<28} {drill.fault} ({', '.join(drill.brokers)})")
        return
    kind = kind or _best()
    chosen_size = Size(size) if size else Size.NORMAL
    seed = secrets.randbelow(10**6) if seed is None else seed
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that all is undone
    failed = _run(_chosen(names, chosen_size), kind, chosen_size, seed, out or RESULTS)
    if out is None:
        PAGE.write_text(page())
        click.echo(f"wrote {PAGE}")
    if failed:
        raise click.ClickException(f"failed: {', '.join(failed)}")


def _run(drills: list[Drill], kind: Kind, size: Size, seed: int, out: Path) -> list[str]:
    failed = []
    with opened(kind, size, seed, click.echo) as stage:
        click.echo(f"on {stage.broker.name}, seed {seed}")
        for drill in drills:
            if why_not := drill.why_not(kind):
                click.echo(f"{drill.name}: left out, {why_not}")
                continue
            click.echo(f"{drill.name}: {drill.fault}")
            found = outcome(drill, stage, seed)
            click.echo(spoken(found))
            write(file_name(drill.name, size), found, out / kind)
            if found["failures"]:
                failed.append(drill.name)
    return failed


def _chosen(names: tuple[str, ...], size: Size) -> list[Drill]:
    if names:
        return [BY_NAME[name] for name in names]
    if size is Size.LONG:
        return [BY_NAME[name] for name in LONG]
    return [drill for drill in DRILLS if drill.by_default]


def _best() -> Kind:
    missing = [
        part
        for part, found in (("Apache Kafka", parts.find_kafka_home()), ("Java", shutil.which("java")))
        if not found
    ]
    if missing:
        click.secho(
            f"{' and '.join(missing)} not found: the drills run on the embedded broker, and prove less",
            fg="yellow",
        )
        return "embedded"
    return "cluster"


if __name__ == "__main__":
    main()
