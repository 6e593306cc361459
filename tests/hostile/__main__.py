"""Every file of the media corpus and many mutations of them, through the whole route of an upload.

    python -m tests.hostile [--count 20000] [--seed 1] [--only NUMBER]

Prints what came of them, writes benchmarks/results/hostile.json and the tables of docs/hostile-input.md, and
fails where something happened that must never happen.
"""

from __future__ import annotations

import time

import click

from benchmarks import report
from tests import parts
from tests.hostile import page
from tests.hostile.run import Findings, mutations, run
from tests.hostile.seeds import found, made, small
from worker.media import sandbox
from worker.telemetry.logs import configure_logging

RESULTS = "hostile"
_TELL_EVERY = 500


@click.command()
@click.option("--count", default=20_000, show_default=True, help="mutations")
@click.option("--seed", default=1, show_default=True, help="of all random numbers")
@click.option("--threads", default=2, show_default=True, help="uploads at a time, and decoder processes")
@click.option("--only", type=int, help="this mutation and no other; writes nothing")
def main(count: int, seed: int, threads: int, only: int | None) -> None:
    configure_logging("error")  # not a line for each verdict
    folder = parts.media_dir()
    seeds = [*made(), *small(folder)]
    if only is not None:
        _show("mutation", run(mutations(seeds, seed, [only]), 1, threads))
        return
    files = found(folder)
    corpus = run(files, len(files), threads)
    _show("corpus", corpus)
    begun_s = time.monotonic()
    broken = run(mutations(seeds, seed, range(count)), count, threads, _tell)
    _show("mutations", broken)
    results = {
        "seed": seed,
        "sandbox": sandbox.layers(),
        "corpus": corpus.to_json(),
        "mutations": broken.to_json() | {"seconds": round(time.monotonic() - begun_s)},
    }
    click.echo(f"wrote {report.write(RESULTS, results)}")
    page.write()
    if corpus.problems or broken.problems:
        raise click.ClickException(f"{len(corpus.problems) + len(broken.problems)} problems")


def _tell(findings: Findings) -> None:
    if findings.uploads % _TELL_EVERY == 0:
        click.echo(f"{findings.uploads}: {dict(findings.outcomes.most_common())}")


def _show(name: str, findings: Findings) -> None:
    click.echo(f"{name}: {findings.to_json()}")


if __name__ == "__main__":
    main()
