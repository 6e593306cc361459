"""Which letters or verdicts a command means: options that several commands share."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import click

from worker.configuration import load_settings
from worker.settings import Settings

Command = TypeVar("Command", bound=Callable[..., Any])

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


class Moment(click.ParamType[datetime]):
    """`2026-11-24T10:00:00+01:00` (UTC when it names no zone), or an age: `30s`, `15m`, `2h`, `7d`."""

    name = "TIME|AGE"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        if age := re.fullmatch(r"(\d+)([smhd])", value):
            return datetime.now(UTC) - timedelta(**{_UNITS[age[2]]: int(age[1])})
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is neither a time (2026-11-24T10:00:00Z) nor an age (30s, 15m, 2h, 7d)")
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def within(moment: datetime, since: datetime | None, until: datetime | None) -> bool:
    """[since, until)"""
    return (since is None or moment >= since) and (until is None or moment < until)


_OPTIONS: dict[str, Callable[[Any], Any]] = {
    "reason": click.option("--reason", "reasons", multiple=True, help="Of this reason; may be repeated."),
    "since": click.option("--since", type=Moment(), help="Not before: 2026-11-24T10:00:00Z, or an age: 2h."),
    "until": click.option("--until", type=Moment(), help="Before: 2026-11-24T10:00:00Z, or an age: 2h."),
    "all": click.option("--all", "everything", is_flag=True, help="Without any other filter."),
    "dry_run": click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing."),
    "broker": click.option("--broker", help="host:port; default: the settings."),
}


def filters(*names: str) -> Callable[[Command], Command]:
    """The options of these names, in this order."""

    def decorate(command: Command) -> Command:
        for name in reversed(names):
            command = _OPTIONS[name](command)
        return command

    return decorate


def settings_at(broker: str | None, **kafka: str | None) -> Settings:
    """The settings, with the brokers of the option ``--broker`` and others of ``kafka`` put above them."""
    given = {name: value for name, value in {"bootstrap_servers": broker, **kafka}.items() if value}
    return load_settings(kafka=given) if given else load_settings()


def require_filter(everything: bool, **given: Any) -> None:
    """Whoever means all must say so."""
    if not everything and not any(given.values()):
        raise click.ClickException("say which: by name, with a filter (see --help), or --all")
