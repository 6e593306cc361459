"""`sluice dlq`: what became of records without a readable upload id, and what to do with them.

Redriving publishes the original once more; dropping says that nothing shall be done. Both are noted on
the dead-letter topic (worker/stream/letters.py), so a second run leaves out what the first one did. A run
that was killed between publishing and its note publishes at most one batch again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import click

from worker.commands.filters import within
from worker.commands.republish import NotPossible, republish
from worker.errors import BrokerUnavailable
from worker.settings import KafkaSettings
from worker.stream.client import Lookup, delete_before, producing, read_topic
from worker.stream.letters import Letter, Letters, Settlement, is_original, mark, original, read_letters
from worker.stream.types import Outgoing, Place, Producer

SHOWN_BYTES = 2_000  # of a value, for people


@dataclass(frozen=True, slots=True)
class LetterFilter:
    """Which letters are meant; what is empty or None matches all."""

    places: tuple[str, ...] = ()  # PARTITION/OFFSET on the dead-letter topic
    reasons: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None

    def matches(self, letter: Letter) -> bool:
        return (
            (not self.places or short(letter.place) in self.places)
            and (not self.reasons or letter.reason in self.reasons)
            and within(letter.written_at, self.since, self.until)
        )


def short(place: Place) -> str:
    return f"{place.partition}/{place.offset}"


def list_letters(settings: KafkaSettings, wanted: LetterFilter, *, settled: bool, as_json: bool) -> None:
    """Print a line for each letter: those that are open, or all."""
    letters = _read(settings)
    for letter in _matching(letters, wanted, with_settled=settled):
        what = letters.settled.get(letter.place, "open")
        if as_json:
            click.echo(json.dumps(_described(letter, what)))
        else:
            when = f"{letter.written_at:%Y-%m-%dT%H:%M:%SZ}"
            source = letter.source or "not of Sluice"
            click.echo(
                f"{short(letter.place):<10} {when}  {what:<9} {letter.reason:<18} {source}  {letter.message}"
            )


def show_letters(settings: KafkaSettings, places: Sequence[str]) -> None:
    """Print letters whole: coordinates, headers and the beginning of the value, as JSON."""
    letters = _read(settings)
    found = list(_matching(letters, LetterFilter(tuple(places)), with_settled=True))
    missing = set(places) - {short(letter.place) for letter in found}
    if missing:
        raise click.ClickException(
            f"{settings.dead_letters_topic} holds no letter {', '.join(sorted(missing))}"
        )
    with Lookup(settings) as lookup:
        for letter in found:
            record = lookup.record(letter.place)
            content = (
                {}
                if record is None
                else {
                    "key": _text(record.key),
                    "headers": {name: _text(value) for name, value in record.headers},
                    "value_bytes": len(record.value or b""),
                    "value": _text(record.value),
                }
            )
            described = _described(letter, letters.settled.get(letter.place, "open"))
            click.echo(json.dumps(described | content, indent=2, ensure_ascii=False))


def redrive_letters(settings: KafkaSettings, wanted: LetterFilter, *, dry_run: bool) -> int:
    """Publish the originals of open letters to the uploads topic. Returns how many could not be."""
    chosen = list(_matching(_read(settings), wanted))
    if dry_run:
        return _only_say("redrive", chosen)
    with Lookup(settings) as lookup, producing(settings) as producer:

        def note(published: Sequence[Letter]) -> None:
            _settle(producer, published, "redriven")

        return republish(
            producer,
            chosen,
            lambda letter: _original(letter, lookup, settings.uploads_topic),
            what="redriving",
            done=note,
        )


def drop_letters(settings: KafkaSettings, wanted: LetterFilter, *, dry_run: bool) -> None:
    """Settle open letters without publishing them, then delete what nothing open stands before.

    Kafka deletes from the front of a partition only: up to the first letter that is still open.
    """
    chosen = list(_matching(_read(settings), wanted))
    if dry_run:
        _only_say("drop", chosen)
        return
    with producing(settings) as producer:
        _settle(producer, chosen, "dropped")
    click.echo(f"dropped: {len(chosen)}")
    prefix = _read(settings).finished_prefix()
    try:
        delete_before(settings, settings.dead_letters_topic, prefix)
    except BrokerUnavailable as error:
        click.echo(f"settled, but the broker keeps them until the topic's retention: {error}", err=True)


def _read(settings: KafkaSettings) -> Letters:
    return read_letters(read_topic(settings, settings.dead_letters_topic))


def _matching(letters: Letters, wanted: LetterFilter, *, with_settled: bool = False) -> Iterator[Letter]:
    for letter in letters.all:
        if wanted.matches(letter) and (with_settled or letters.is_open(letter)):
            yield letter


def _only_say(what: str, chosen: Sequence[Letter]) -> int:
    for letter in chosen:
        click.echo(f"would {what} {short(letter.place)} ({letter.reason}, from {letter.source})")
    click.echo(f"would {what}: {len(chosen)}")
    return 0


def _settle(producer: Producer, letters: Sequence[Letter], settlement: Settlement) -> None:
    for future in [producer.send(mark(letter, settlement)) for letter in letters]:
        future.result()


def _original(letter: Letter, lookup: Lookup, topic: str) -> Outgoing:
    """From the letter, or from its source where the original does not stand in it."""
    if letter.source is None:
        raise NotPossible(f"{short(letter.place)}: not a letter that Sluice wrote")
    if not letter.omitted:
        written = lookup.record(letter.place)
        if written is None:
            raise NotPossible(f"{short(letter.place)}: the letter is gone")
        return original(written, topic)
    source = lookup.record(letter.source)
    if source is None or not is_original(letter, source):
        raise NotPossible(
            f"{short(letter.place)}: the original was left out ({letter.omitted}), and {letter.source} is "
            "gone or cannot be read"
        )
    return Outgoing(topic, source.key, source.value, source.headers)


def _described(letter: Letter, state: str) -> dict[str, str]:
    return {
        "letter": short(letter.place),
        "state": state,
        "written_at": letter.written_at.isoformat(),
        "reason": letter.reason,
        "source": str(letter.source or ""),
        "omitted": letter.omitted,
        "message": letter.message,
    }


def _text(value: bytes | None) -> str | None:
    return None if value is None else value[:SHOWN_BYTES].decode("utf-8", "backslashreplace")
