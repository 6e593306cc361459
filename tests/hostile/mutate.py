"""Broken copies of media files. The same random numbers give the same copy.

Half of the changes know the structure of MP4 and Matroska (sizes that lie, boxes that are missing, twice
there, in another place or inside of themselves, counts and times that are extreme), half know nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from tests.hostile.boxes import Part, parts_of

Change = Callable[[bytearray, Random], None]
PartChange = Callable[[bytearray, Part, Sequence[Part], Random], None]

LARGEST_BYTES = 4 * 1024 * 1024  # no copy grows beyond
_NUMBERS = (
    0,
    1,
    2,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0x8000,
    0xFFFF,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    (1 << 63) - 1,
)
_HEAD_BYTES = 4096  # where a header most likely is


def mutated(data: bytes, random: Random) -> tuple[bytes, str]:
    """A copy with one to four changes, and their names."""
    copy, names = bytearray(data), []
    for _ in range(random.choice((1, 1, 2, 4))):
        parts = parts_of(bytes(copy)) if random.random() < 0.5 else []
        if parts:
            change = random.choice(STRUCTURED)
            change(copy, random.choice(parts), parts, random)
            names.append(change.__name__)
        elif copy:
            blind = random.choice(BLIND)
            blind(copy, random)
            names.append(blind.__name__)
        del copy[LARGEST_BYTES:]
    return bytes(copy), "+".join(names)


def flip_bits(copy: bytearray, random: Random) -> None:
    for _ in range(random.choice((1, 8, 64))):
        copy[_place(copy, random)] ^= 1 << random.randrange(8)


def overwrite(copy: bytearray, random: Random) -> None:
    place = _place(copy, random)
    noise = random.randbytes(min(random.choice((4, 64, 4096)), len(copy) - place))
    copy[place : place + len(noise)] = noise


def extreme_number(copy: bytearray, random: Random) -> None:
    _write_number(copy, _place(copy, random), random)


def truncate(copy: bytearray, random: Random) -> None:
    del copy[_place(copy, random) :]


def cut_out(copy: bytearray, random: Random) -> None:
    place = _place(copy, random)
    del copy[place : place + random.choice((1, 16, 1024))]


def repeat(copy: bytearray, random: Random) -> None:
    place = _place(copy, random)
    chunk = copy[place : place + random.choice((16, 1024, 65536))]
    copy[place:place] = chunk * random.choice((1, 4, 64))
    del copy[LARGEST_BYTES:]


def zeros(copy: bytearray, random: Random) -> None:
    place = _place(copy, random)
    length = min(random.choice((8, 512, 16384)), len(copy) - place)
    copy[place : place + length] = bytes(length)


def lie_about_size(copy: bytearray, part: Part, parts: Sequence[Part], random: Random) -> None:
    true = part.end - part.start
    largest = (1 << 8 * part.size_bytes) - 1
    value = random.choice((0, 1, 7, 8, true - 1, true + 1, true * 2, len(copy), largest, largest >> 1))
    copy[part.size_at : part.size_at + part.size_bytes] = (value & largest).to_bytes(part.size_bytes, "big")
    if part.kind == "matroska":  # the width stays, else only the identifier's reader would be tried
        copy[part.size_at] = copy[part.size_at] % (1 << 8 - part.size_bytes) | 1 << 8 - part.size_bytes


def rename(copy: bytearray, part: Part, parts: Sequence[Part], random: Random) -> None:
    other = random.choice(parts)
    width = min(4, part.head, other.head)
    place, source = _name_at(part), _name_at(other)
    copy[place : place + width] = copy[source : source + width]


def remove(copy: bytearray, part: Part, parts: Sequence[Part], random: Random) -> None:
    del copy[part.start : part.end]


def double(copy: bytearray, part: Part, parts: Sequence[Part], random: Random) -> None:
    copy[part.end : part.end] = copy[part.start : part.end] * random.choice((1, 8))


def swap(copy: bytearray, part: Part, parts: Sequence[Part], random: Random) -> None:
    first, second = sorted((part, random.choice(parts)), key=lambda one: one.start)
    if first.end <= second.start:
        copy[:] = (
            copy[: first.start]
            + copy[second.start : second.end]
            + copy[first.end : second.start]
            + copy[first.start : first.end]
            + copy[second.end :]
        )


def put_inside(copy: bytearray, part: Part, parts: Sequence[Part], random: Random) -> None:
    """A copy of any part at the beginning of this one: of itself too."""
    other = random.choice((part, random.choice(parts)))
    copy[part.body : part.body] = copy[other.start : other.end]


def extreme_field(copy: bytearray, part: Part, parts: Sequence[Part], random: Random) -> None:
    body = min(part.end - part.body, 128)
    if body > 0:
        _write_number(copy, part.body + random.randrange(body), random)


BLIND: Sequence[Change] = (flip_bits, overwrite, extreme_number, truncate, cut_out, repeat, zeros)
STRUCTURED: Sequence[PartChange] = (
    lie_about_size, rename, remove, double, swap, put_inside, extreme_field, extreme_field, extreme_field,
)  # fmt: skip


def _name_at(part: Part) -> int:
    return part.start + 4 if part.kind == "mp4" else part.start


def _place(copy: bytearray, random: Random) -> int:
    """Half of the time in the head of the file."""
    return (
        random.randrange(min(len(copy), _HEAD_BYTES))
        if random.random() < 0.5
        else random.randrange(len(copy))
    )


def _write_number(copy: bytearray, place: int, random: Random) -> None:
    width = random.choice((1, 2, 4, 8))
    value = random.choice(_NUMBERS) & ((1 << 8 * width) - 1)
    field = copy[place : place + width]
    copy[place : place + len(field)] = value.to_bytes(width, random.choice(("big", "little")))[: len(field)]
