"""`sluice health`: what a worker's /readyz says, check by check."""

from __future__ import annotations

import json
import urllib.error
import urllib.request

import click

from worker.configuration import load_settings

TIMEOUT_S = 5.0


@click.command()
@click.option(
    "--worker",
    "address",
    metavar="HOST:PORT",
    help="Metrics port of a worker. Default: localhost and the settings' port.",
)
def health(address: str | None) -> None:
    """Ask a worker whether it is ready, and print what each of its checks says.

    Ends with code 1 when it is not, or does not answer.
    """
    address = address or f"localhost:{load_settings().telemetry.port}"
    checks = ask(address)
    width = max(map(len, checks), default=0)
    for name, said in checks.items():
        click.echo(f"{name:<{width}}  {said}")
    if any(said != "ok" for said in checks.values()):
        raise click.ClickException(f"the worker at {address} is not ready")


def ask(address: str) -> dict[str, str]:
    """Each check of /readyz and what it says: "ok", or what is wrong.

    Raises ClickException where no worker answers.
    """
    try:
        with urllib.request.urlopen(f"http://{address}/readyz", timeout=TIMEOUT_S) as answer:
            body = answer.read()
    except urllib.error.HTTPError as error:
        body = error.read()  # not ready: the reason is in the answer
    except OSError as error:
        raise click.ClickException(
            f"nobody answers at {address} ({error}): the worker loads its models or has ended, see its log"
        ) from error
    try:
        checks: dict[str, str] = json.loads(body)["checks"]
    except (ValueError, KeyError, TypeError) as error:
        raise click.ClickException(f"what answers at {address} is not a worker") from error
    return checks
