"""Small MP4 and Matroska files, written part by part, that claim or ask for much."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from tests.synthesis import Video, still

# MP4 (ISO/IEC 14496-12)


def box(name: bytes, *content: bytes) -> bytes:
    body = b"".join(content)
    return struct.pack(">I4s", 8 + len(body), name) + body


def table(name: bytes, *fields: int, entries: bytes = b"") -> bytes:
    """A box with version and flags 0 and 32-bit numbers."""
    return box(name, bytes(4), struct.pack(f">{len(fields)}I", *fields), entries)


@dataclass(frozen=True)
class Track:
    """A track of JPEG pictures whose samples all lie at the same place."""

    samples: int = 25
    ticks: int = 1  # between two samples
    ticks_per_s: int = 25
    size: tuple[int, int] = (64, 48)  # as the container says
    samples_said: int | None = None  # in the table of sizes, which lists only one size; None: the truth

    def boxes(self, picture_at: int, picture_bytes: int) -> bytes:
        width, height = self.size
        said = self.samples if self.samples_said is None else self.samples_said
        duration = self.samples * self.ticks
        entry = box(
            b"jpeg",
            struct.pack(">6xH16xHHIIIH32xHh", 1, width, height, 0x480000, 0x480000, 0, 1, 24, -1),
        )
        samples = box(
            b"stbl",
            table(b"stsd", 1, entries=entry),
            table(b"stts", 1, said, self.ticks),
            table(b"stsc", 1, 1, 1, 1),
            table(b"stsz", picture_bytes, said),
            table(b"stco", self.samples, entries=struct.pack(">I", picture_at) * self.samples),
        )
        reference = box(b"dinf", table(b"dref", 1, entries=struct.pack(">I4sI", 12, b"url ", 1)))
        media = box(
            b"mdia",
            table(b"mdhd", 0, 0, self.ticks_per_s, duration, 0),
            box(b"hdlr", struct.pack(">8x4s12xx", b"vide")),
            box(b"minf", box(b"vmhd", struct.pack(">I8x", 1)), reference, samples),
        )
        head = struct.pack(">I8xI4xI52xII", 7, 1, duration, width << 16, height << 16)
        return box(b"trak", box(b"tkhd", head), media)


def mp4(*tracks: Track, metadata: bytes = b"", movie_size: int | None = None) -> bytes:
    """``movie_size``: what the box around everything says; None: the truth."""
    picture = still(64, 48, "mjpeg", shade=200)
    start = box(b"ftyp", b"isom", bytes(4), b"isom") + box(b"mdat", picture)
    place = len(start) - len(picture)
    movie = box(
        b"moov",
        table(b"mvhd", 0, 0, 1000, 1000, 0x10000, entries=bytes(76)),
        *(track.boxes(place, len(picture)) for track in tracks),
        metadata,
    )
    if movie_size is not None:
        movie = struct.pack(">I", movie_size) + movie[4:]
    return start + movie


def nested_boxes(depth: int) -> bytes:
    """Empty boxes inside of each other."""
    heads = b"".join(struct.pack(">I4s", 8 * (depth - level), b"moov") for level in range(depth))
    return box(b"ftyp", b"isom", bytes(4), b"isom") + heads


def titled(characters: int) -> bytes:
    """Metadata: one title of this length."""
    text = box(b"data", struct.pack(">II", 1, 0), b"x" * characters)
    item = box(b"ilst", box(b"\xa9nam", text))
    return box(b"udta", box(b"meta", bytes(4), box(b"hdlr", struct.pack(">8x4s12xx", b"mdir")), item))


# Matroska (RFC 8794 and RFC 9559)


def element(number: str, *content: bytes) -> bytes:
    """With its length in eight bytes."""
    body = b"".join(content)
    return bytes.fromhex(number) + (len(body) | 1 << 56).to_bytes(8, "big") + body


def number(identifier: str, value: int) -> bytes:
    return element(identifier, value.to_bytes(8, "big"))


def matroska(blocks: Sequence[bytes], *, track: bytes = b"", further: bytes = b"") -> bytes:
    """Motion JPEG, a picture every 40 ms or less. ``track``: more elements of its only track."""
    step_ms = min(40, 32_000 // max(1, len(blocks)))  # a block has 16 bits for its time
    video = element("e0", number("b0", 64), number("ba", 48))
    entry = element(
        "ae", number("d7", 1), number("73c5", 1), number("83", 1), element("86", b"V_MJPEG"), video, track
    )
    frames = (
        element("a3", struct.pack(">BhB", 0x81, step_ms * index, 0x80), data)
        for index, data in enumerate(blocks)
    )
    return element("1a45dfa3", element("4282", b"matroska"), number("4287", 4), number("4285", 2)) + element(
        "18538067",
        element("1549a966", number("2ad7b1", 1_000_000)),
        element("1654ae6b", entry),
        further,
        element("1f43b675", number("e7", 0), *frames),
    )


def deflated(pictures: int, inflated_bytes: int) -> bytes:
    """Matroska whose blocks are compressed: each becomes a picture followed by zeros."""
    picture = still(64, 48, "mjpeg", shade=200)
    block = zlib.compress(picture + bytes(inflated_bytes - len(picture)), 9)
    compression = element("5034", number("4254", 0))
    encoding = element("6240", number("5031", 0), number("5032", 1), number("5033", 0), compression)
    return matroska([block] * pictures, track=element("6d80", encoding))


def nested_tags(depth: int) -> bytes:
    """Tags inside of each other, each as long as what is in it."""
    heads = (bytes.fromhex("67c8") + ((10 * level) | 1 << 56).to_bytes(8, "big") for level in range(depth))
    tags = element("1254c367", element("7373", b"".join(reversed(list(heads)))))
    return matroska([still(64, 48, "mjpeg")], further=tags)


def late_video(sound_bytes: int) -> bytes:
    """FLV in which the pictures begin after this much sound: its header does not say what is to come."""
    data = Video(duration_s=1, codec="flv1", container="flv").make()
    sound = b"\x3e" + bytes(1000)  # 16 bits, 44.1 kHz, one channel
    tag = struct.pack(">I", 8 << 24 | len(sound)) + bytes(7) + sound + struct.pack(">I", 11 + len(sound))
    return data[:13] + tag * (sound_bytes // len(tag)) + data[13:]


# Pictures that say to be large


def gif_header(width: int, height: int) -> bytes:
    return (
        struct.pack("<6sHHBBB", b"GIF89a", width, height, 0x80, 0, 0)
        + bytes(6)
        + (struct.pack("<BHHHHBB", 0x2C, 0, 0, width, height, 0, 2) + b"\x02\x44\x01\x00\x3b")
    )


def bmp_header(width: int, height: int) -> bytes:
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return struct.pack("<2sIHHI", b"BM", 54 + 1024, 0, 0, 54) + info + bytes(1024)


def jpeg_header(width: int, height: int) -> bytes:
    """A real picture whose frame header is changed."""
    data = bytearray(still(64, 48, "mjpeg"))
    place = data.index(b"\xff\xc0")
    struct.pack_into(">HH", data, place + 5, height, width)
    return bytes(data)
