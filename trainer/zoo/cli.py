"""``sluice zoo``: every architecture under one protocol."""

from __future__ import annotations

import json
from pathlib import Path

import click

from trainer.config import ConfigError
from trainer.data.manifest import ManifestError

CHECKOUT = Path(__file__).resolve().parents[2]
PROTOCOL = CHECKOUT / "trainer" / "configs" / "zoo" / "protocol.yaml"
LEVERS = PROTOCOL.with_name("levers.yaml")
RESULTS = CHECKOUT / "benchmarks" / "results"
PAGE = CHECKOUT / "docs" / "models.md"
CACHE = Path("~/.cache/sluice/clips")


@click.group()
def zoo() -> None:
    """Every architecture under one reduced protocol, and the tables of what came out."""


@zoo.command()
@click.option("--protocol", "file", type=click.Path(path_type=Path), default=PROTOCOL, show_default=True)
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Folder of the data.")
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS / "zoo", show_default=True)
@click.option("--cache", type=click.Path(path_type=Path), default=CACHE, show_default=True)
@click.option("--set", "sets", multiple=True, help="Only this set; may be repeated.")
@click.option("--network", "networks", multiple=True, help="Only this network; may be repeated.")
def run(
    file: Path, data: Path, out: Path, cache: Path, sets: tuple[str, ...], networks: tuple[str, ...]
) -> None:
    """Train and measure what has no result yet."""
    from trainer.data.rolls import ClipCache
    from trainer.zoo.protocol import read_protocol
    from trainer.zoo.run import run as run_pairs

    try:
        protocol = read_protocol(file)
        chosen = [
            pair
            for pair in protocol.pairs()
            if (not sets or pair[0] in sets) and (not networks or pair[1] in networks)
        ]
        if not chosen:
            raise click.ClickException(f"{file}: no pair of the named sets and networks")
        run_pairs(protocol, data, out, ClipCache(cache.expanduser()), chosen, click.echo)
    except (ConfigError, ManifestError, ValueError) as error:
        raise click.ClickException(str(error)) from error


@zoo.command()
@click.option("--levers", "file", type=click.Path(path_type=Path), default=LEVERS, show_default=True)
@click.option(
    "--protocol", "protocol_file", type=click.Path(path_type=Path), default=PROTOCOL, show_default=True
)
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Folder of the data.")
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS / "levers", show_default=True)
@click.option("--cache", type=click.Path(path_type=Path), default=CACHE, show_default=True)
@click.option(
    "--pretrained", type=click.Path(path_type=Path), required=True, help="What `sluice pretrain` wrote."
)
def levers(file: Path, protocol_file: Path, data: Path, out: Path, cache: Path, pretrained: Path) -> None:
    """Measure what has no result yet: networks of the protocol with one change, and without it."""
    from trainer.data.rolls import ClipCache
    from trainer.zoo.levers import run as run_levers
    from trainer.zoo.protocol import read_levers, read_protocol

    try:
        chosen, protocol = read_levers(file), read_protocol(protocol_file)
        run_levers(chosen, protocol, data, out, ClipCache(cache.expanduser()), pretrained, click.echo)
    except (ConfigError, ManifestError, ValueError) as error:
        raise click.ClickException(str(error)) from error


@zoo.command()
@click.option("--levers", "levers_file", type=click.Path(path_type=Path), default=LEVERS, show_default=True)
@click.option("--protocol", "file", type=click.Path(path_type=Path), default=PROTOCOL, show_default=True)
@click.option("--results", type=click.Path(path_type=Path), default=RESULTS, show_default=True)
@click.option("--page", type=click.Path(path_type=Path), default=PAGE, show_default=True)
def table(levers_file: Path, file: Path, results: Path, page: Path) -> None:
    """Write the tables of the results into a page, between its markers."""
    from trainer.pages import filled
    from trainer.zoo.protocol import read_levers, read_protocol
    from trainer.zoo.table import tables

    try:
        made = tables(read_protocol(file), read_levers(levers_file), results)
        text = filled(page.read_text(), made)
    except (ConfigError, ValueError, OSError) as error:
        raise click.ClickException(str(error)) from error
    page.write_text(text)
    click.echo(f"wrote {page}")


@zoo.command()
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS, show_default=True)
def costs(out: Path) -> None:
    """Count parameters and operations of every name of the registry, and what attention compares."""
    from trainer.costs import attention_costs, reference_costs

    for name, found in (("costs", reference_costs()), ("attention", attention_costs())):
        (out / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")
        click.echo(f"wrote {out / name}.json")
