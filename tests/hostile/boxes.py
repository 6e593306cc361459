"""Where the parts of a file lie: the boxes of MP4 (ISO/IEC 14496-12), the elements of Matroska (RFC 9559)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

_PARENTS = frozenset(
    (
        b"moov",
        b"trak",
        b"mdia",
        b"minf",
        b"stbl",
        b"edts",
        b"udta",
        b"dinf",
        b"moof",
        b"traf",
        b"mvex",
        b"meta",
    )
)
# EBML header, Segment, SeekHead, Info, Tracks, TrackEntry, Video, Audio, ContentEncodings, ContentEncoding,
# ContentCompression, Cluster, BlockGroup, Cues, CuePoint, Tags, Tag, SimpleTag
_MASTERS = frozenset(
    bytes.fromhex(number)
    for number in (
        *("1a45dfa3", "18538067", "114d9b74", "1549a966", "1654ae6b", "ae", "e0", "e1", "6d80"),
        *("6240", "5034", "1f43b675", "a0", "1c53bb6b", "bb", "1254c367", "7373", "67c8"),
    )
)
_MOST_PARTS = 4000


@dataclass(frozen=True, slots=True)
class Part:
    """[start, end) in the file; its first ``head`` bytes say what it is and how long."""

    start: int
    head: int
    end: int
    kind: Literal["mp4", "matroska"]
    size_at: int  # where its length stands
    size_bytes: int

    @property
    def body(self) -> int:
        return self.start + self.head


def parts_of(data: bytes) -> list[Part]:
    """Every box or element, parents before children; none for other formats."""
    found = _elements(data, 0, len(data)) if data[:4] == b"\x1a\x45\xdf\xa3" else _boxes(data, 0, len(data))
    return [part for part, _ in zip(found, range(_MOST_PARTS), strict=False)]


def _boxes(data: bytes, start: int, end: int) -> Iterator[Part]:
    while start + 8 <= end:
        size, name = struct.unpack_from(">I4s", data, start)
        head, size_at, size_bytes = 8, start, 4
        if size == 1 and start + 16 <= end:
            (size,) = struct.unpack_from(">Q", data, start + 8)
            head, size_at, size_bytes = 16, start + 8, 8
        stop = end if size == 0 else start + size
        if not start + head <= stop <= end or not name.isalnum():
            return
        yield Part(start, head, stop, "mp4", size_at, size_bytes)
        if name in _PARENTS:
            yield from _boxes(data, start + head + (4 if name == b"meta" else 0), stop)
        start = stop


def _elements(data: bytes, start: int, end: int) -> Iterator[Part]:
    while start < end:
        id_bytes = _width(data[start])
        size_at = start + id_bytes
        if id_bytes > 4 or size_at >= end:
            return
        size_bytes = _width(data[size_at])
        head = id_bytes + size_bytes
        if size_bytes > 8 or start + head > end:
            return
        value = int.from_bytes(data[size_at : size_at + size_bytes], "big") & ((1 << 7 * size_bytes) - 1)
        unknown = value == (1 << 7 * size_bytes) - 1
        stop = end if unknown else min(end, start + head + value)
        yield Part(start, head, stop, "matroska", size_at, size_bytes)
        if data[start:size_at] in _MASTERS:
            yield from _elements(data, start + head, stop)
        start = stop


def _width(first: int) -> int:
    """Of a number of variable length, by its first byte; 9: it is none."""
    return 9 - first.bit_length()
