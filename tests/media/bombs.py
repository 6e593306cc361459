"""Small files that ask for much."""

from __future__ import annotations

import io
import struct
import zlib
from fractions import Fraction
from typing import Any

import av

from tests.synthesis import Video, mapped


def black_png(width: int, height: int) -> bytes:
    """Made piece by piece: the picture itself never exists here."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = _deflated_zeros((width * 3 + 1) * height)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def _deflated_zeros(count: int) -> bytes:
    block_size = 1 << 20
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = compressor.compress(bytes(block_size)) + compressor.flush(zlib.Z_FULL_FLUSH)
    rest = zlib.compressobj(9, zlib.DEFLATED, -15)
    tail = rest.compress(bytes(count % block_size)) + rest.flush()
    checksum = ((count % 65521) << 16) | 1
    return b"\x78\x01" + block * (count // block_size) + tail + struct.pack(">I", checksum)


def png_in_mov(width: int, height: int) -> bytes:
    """A track whose only sample is a huge picture of one colour, which compresses to little."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mov") as container:
        stream: Any = container.add_stream("png", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "rgb24"
        packet = av.Packet(black_png(width, height))
        packet.pts = packet.dts = 0
        packet.stream = stream
        packet.time_base = Fraction(1, 25)
        packet.is_keyframe = True
        container.mux(packet)
    return buffer.getvalue()


def png_that_says_it_is_small(width: int, height: int) -> bytes:
    """As above, but the container announces 64x64: only the decoder finds out."""
    data = png_in_mov(width, height)

    def shrink(copy: bytearray) -> None:
        entry = copy.index(b"png ", copy.index(b"stsd"))
        struct.pack_into(">HH", copy, entry + 4 + 24, 64, 64)

    return mapped(data, shrink)


def vp8_of_16k() -> bytes:
    """A VP8 stream whose key frames are changed to say 16000x16000."""
    data = Video(duration_s=0.2, codec="libvpx", container="ivf").make()

    def grow(copy: bytearray) -> None:
        struct.pack_into("<HH", copy, 12, 16000, 16000)  # IVF header
        place = 0
        while (place := copy.find(b"\x9d\x01\x2a", place)) >= 0:  # start code of a key frame
            struct.pack_into("<HH", copy, place + 3, 16000, 16000)
            place += 3

    return mapped(data, grow)
