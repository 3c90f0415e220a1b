"""One gzip member whose parts are each compressed in the way that makes them smallest.

Quantised weights have no repetitions that a search would find, text and grids have. A deflate stream may be cut at byte
borders into pieces that were compressed apart: each piece here ends with an empty block, and the last one ends the
stream ("DEFLATE Compressed Data Format Specification", RFC 1951, and RFC 1952 for gzip's header and trailer).
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff"
"""Deflate, no name, no time, slowest compression, unknown system: the same bytes on every machine."""
_STRATEGIES = (zlib.Z_DEFAULT_STRATEGY, zlib.Z_FILTERED, zlib.Z_HUFFMAN_ONLY)
_MOST_SEARCHED = 1 << 18
"""Bytes; larger parts are compressed in one way, and alone."""


def gzip_of(parts: Sequence[bytes]) -> bytes:
    """The gzip of the parts behind each other. Neighbours share a piece of the stream where that is smaller."""
    pieces = [(part, _smallest(part)) for part in parts if part]
    place = 0
    while place + 1 < len(pieces):
        if len(pieces[place][0]) + len(pieces[place + 1][0]) > _MOST_SEARCHED:
            place += 1
            continue
        joined = pieces[place][0] + pieces[place + 1][0]
        together = _smallest(joined)
        if len(together) <= len(pieces[place][1]) + len(pieces[place + 1][1]):
            pieces[place : place + 2] = [(joined, together)]
            place = max(0, place - 1)
        else:
            place += 1
    checksum, length = 0, 0
    for plain, _ in pieces:
        checksum, length = zlib.crc32(plain, checksum), length + len(plain)
    *first, last = pieces or [(b"", b"")]
    stream = b"".join(deflated for _, deflated in first) + _smallest(last[0], zlib.Z_FINISH)
    return _HEADER + stream + checksum.to_bytes(4, "little") + (length & 0xFFFFFFFF).to_bytes(4, "little")


def _smallest(part: bytes, end: int = zlib.Z_SYNC_FLUSH) -> bytes:
    strategies = _STRATEGIES if len(part) <= _MOST_SEARCHED else _STRATEGIES[:1]
    found = []
    for strategy in strategies:
        deflater = zlib.compressobj(9, zlib.DEFLATED, -15, 9, strategy)
        found.append(deflater.compress(part) + deflater.flush(end))
    return min(found, key=len)
