"""Field files as bytes: the gzip of a safetensors file, written and read with numpy alone.

FORMAT.md beside this file describes the format. Whatever a file says is checked before memory is taken for it: its
size, what it inflates to, the length of its header, and the place and shape of every array. Nothing in it is executed.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eugen_fields.errors import InputError
from eugen_fields.storing.damage import DamagedFile
from eugen_fields.storing.deflate import gzip_of
from eugen_fields.writing import written_beside

FORMAT = "eugen-field"
VERSION = (1, 1)
"""Major and minor version that are written. Files of another major version are refused; what a later minor version
adds is passed over."""

OTHER_PLACE = "Choose another place."
"""Advice where a file cannot be written."""
GZIP = b"\x1f\x8b"
"""How gzip begins."""
MOST_FILE_BYTES = 8 << 20
MOST_INFLATED_BYTES = 24 << 20
MOST_HEADER_BYTES = 64 << 10
MOST_ARRAYS = 256
_MOST_SIDE = 1 << 24

DTYPES: dict[str, np.dtype] = {
    "I8": np.dtype("i1"),
    "U8": np.dtype("u1"),
    "F16": np.dtype("<f2"),
    "F32": np.dtype("<f4"),
}
"""Number formats of arrays: safetensors' names for them, and numpy's."""
_NAMES = {dtype: name for name, dtype in DTYPES.items()}
_ARRAY_NAME = re.compile(r"[a-z][a-z0-9_.]{0,63}")
_VERSION = re.compile(r"(\d{1,4})\.(\d{1,4})")


@dataclass(frozen=True)
class Content:
    """What a field file holds, before it is made sense of."""

    kind: str
    """Kind of the field; storing.scene.SCENES lists them."""
    scene: dict[str, Any]
    """Everything that is not an array."""
    arrays: dict[str, np.ndarray]
    """Arrays by name; float arrays are finite."""
    version: tuple[int, int]
    """Major and minor version of the format."""
    sha256: str
    """SHA-256 of `scene` as text, followed by the arrays, in hexadecimal digits."""

    @property
    def is_later(self) -> bool:
        """Whether the file is of a later minor version, which may have more in it than is known here."""
        return self.version > VERSION


def encode(kind: str, scene: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> bytes:
    """The bytes of a field file; the same content always gives the same bytes.

    Raises:
        ValueError: the content is not what a field file may hold: names, number formats, values that are not finite, or
            sizes beyond the limits.
    """
    order = sorted(arrays, key=lambda name: (-DTYPES[_dtype_name(arrays[name])].itemsize, name))
    header: dict[str, Any] = {}
    parts, end = [], 0
    for name in order:
        array = np.ascontiguousarray(arrays[name])
        if not _ARRAY_NAME.fullmatch(name):
            raise ValueError(f"array name {name!r} is not one that a field file may have")
        if array.dtype.kind == "f" and not bool(np.isfinite(array).all()):
            raise ValueError(f"array {name} holds NaN or infinity")
        start, end = end, end + array.nbytes
        header[name] = {"dtype": _dtype_name(array), "shape": list(array.shape), "data_offsets": [start, end]}
        parts.append(array.astype(DTYPES[_dtype_name(array)], copy=False).tobytes())
    text = json.dumps(scene, separators=(",", ":"), allow_nan=False)
    metadata = {
        "format": FORMAT,
        "version": "{}.{}".format(*VERSION),
        "kind": kind,
        "sha256": _digest(text, parts),
        "scene": text,
    }
    head = json.dumps({"__metadata__": metadata} | header, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)  # safetensors wants arrays aligned
    if len(head) > MOST_HEADER_BYTES or len(order) > MOST_ARRAYS or 8 + len(head) + end > MOST_INFLATED_BYTES:
        raise ValueError(
            f"the content has {len(order)} arrays, a header of {len(head):,} bytes and {end:,} bytes of numbers; at "
            f"most {MOST_ARRAYS}, {MOST_HEADER_BYTES:,} and {MOST_INFLATED_BYTES:,} can be stored"
        )
    data = gzip_of([len(head).to_bytes(8, "little") + head, *parts])
    if len(data) > MOST_FILE_BYTES:
        raise ValueError(f"the file would have {len(data):,} bytes; at most {MOST_FILE_BYTES:,} can be stored")
    return data


def _dtype_name(array: np.ndarray) -> str:
    name = _NAMES.get(array.dtype.newbyteorder("<"))
    if name is None:
        raise ValueError(f"arrays of {array.dtype} cannot be stored; the number formats are {', '.join(DTYPES)}")
    return name


def _digest(text: str, parts: list[bytes]) -> str:
    digest = hashlib.sha256(text.encode())
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def write(path: Path, data: bytes) -> None:
    """Writes the bytes of a field file beside its place and renames it, so that no half file is left there.

    Raises:
        InputError: it cannot be written.
    """
    with written_beside(path, advice=OTHER_PLACE) as unfinished:
        unfinished.write_bytes(data)


def read(path: str | Path) -> Content:
    """The content of a field file.

    Raises:
        InputError: there is no such file, or it is damaged, of a later version, too large or no field file.
    """
    return decode(read_bytes(path), str(path))


def read_bytes(path: str | Path) -> bytes:
    """The bytes of what may be a field file.

    Raises:
        InputError: there is no such file, or it is too large.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(MOST_FILE_BYTES + 1)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}.") from None
    if len(data) > MOST_FILE_BYTES:
        raise InputError(f"{path} is larger than {MOST_FILE_BYTES >> 20} MB, which no field file is.")
    return data


def begins_so(path: Path) -> bool:
    """Whether a file begins as field files do, which are gzip."""
    try:
        with path.open("rb") as file:
            return file.read(len(GZIP)) == GZIP
    except OSError:
        return False


def decode(data: bytes, name: str = "the data") -> Content:
    """The content of the bytes of a field file.

    Args:
        name: of where they come from, for messages.

    Raises:
        InputError: as `read`.
    """
    plain = memoryview(_inflate(data, name))
    if len(plain) < 8 or not 2 <= (length := int.from_bytes(plain[:8], "little")) <= len(plain) - 8:
        raise DamagedFile(name, "the length of its header does not fit its size")
    if length > MOST_HEADER_BYTES:
        raise DamagedFile(name, f"its header has {length:,} bytes; at most {MOST_HEADER_BYTES:,} are allowed")
    header = parse_json(bytes(plain[8 : 8 + length]), name, "header")
    metadata = header.pop("__metadata__", None)
    if not isinstance(metadata, dict) or metadata.get("format") != FORMAT:
        raise InputError(f"{name} is not a field file: its header does not name the format {FORMAT}.")
    version = _version(metadata.get("version"), name)
    for entry in ("kind", "sha256", "scene"):
        if not isinstance(metadata.get(entry), str):
            raise DamagedFile(name, f"its header has no text {entry!r}")
    body = plain[8 + length :]
    digest = hashlib.sha256(metadata["scene"].encode("utf-8", "replace"))
    digest.update(body)
    if digest.hexdigest() != metadata["sha256"]:
        raise DamagedFile(name, "its content does not have the SHA-256 that its header names")
    arrays = _arrays(header, body, name)
    scene = parse_json(metadata["scene"].encode("utf-8", "replace"), name, "scene")
    return Content(metadata["kind"], scene, arrays, version, metadata["sha256"])


def _inflate(data: bytes, name: str) -> bytes:
    if data[: len(GZIP)] != GZIP:
        raise InputError(f"{name} is not a field file. eugen-export RUN --field FILE writes one.")
    inflater = zlib.decompressobj(wbits=31)
    try:
        plain = inflater.decompress(data, MOST_INFLATED_BYTES + 1)
    except zlib.error as error:
        raise DamagedFile(name, f"gzip says {error}") from None
    if len(plain) > MOST_INFLATED_BYTES:
        raise DamagedFile(name, f"it inflates to more than {MOST_INFLATED_BYTES >> 20} MB, which no field file does")
    if not inflater.eof:
        raise InputError(f"{name} ends too early, after {len(data):,} bytes. Download or copy it again.")
    if inflater.unused_data:
        raise DamagedFile(name, f"{len(inflater.unused_data):,} bytes follow its end")
    return plain


def _version(text: Any, name: str) -> tuple[int, int]:
    match = _VERSION.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise DamagedFile(name, "its header names no version of the format")
    version = int(match[1]), int(match[2])
    if version[0] != VERSION[0]:
        raise InputError(
            f"{name} is of version {text} of the format; this program reads {VERSION[0]}.x. Install the eugen_fields "
            "that wrote it."
        )
    return version


def _arrays(header: dict[str, Any], body: memoryview, name: str) -> dict[str, np.ndarray]:
    """Arrays over the body, which they fill from its start to its end without a gap."""
    if len(header) > MOST_ARRAYS:
        raise DamagedFile(name, f"it has {len(header)} arrays; at most {MOST_ARRAYS} are allowed")
    found: list[tuple[int, int, str, str, tuple[int, ...]]] = []
    for array_name, entry in header.items():
        if not _ARRAY_NAME.fullmatch(array_name):
            raise DamagedFile(name, "an array in it has a name that none has")
        if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
            raise DamagedFile(name, f"the header does not describe array {array_name} as safetensors does")
        dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
        if not isinstance(dtype, str) or dtype not in DTYPES:
            raise DamagedFile(name, f"array {array_name} is not of one of the number formats {', '.join(DTYPES)}")
        if not _are_counts(shape, 3) or not _are_counts(offsets, 2) or len(offsets) != 2:
            raise DamagedFile(name, f"array {array_name} has no shape or place that can be")
        if offsets[1] - offsets[0] != math.prod(shape) * DTYPES[dtype].itemsize:
            raise DamagedFile(name, f"array {array_name} has another size than its shape says")
        found.append((offsets[0], offsets[1], array_name, dtype, tuple(shape)))
    arrays, end = {}, 0
    for start, stop, array_name, dtype, shape in sorted(found):
        if start != end or stop > len(body):
            raise DamagedFile(name, f"array {array_name} does not begin where the one before it ends, or goes too far")
        array = np.frombuffer(body[start:stop], dtype=DTYPES[dtype]).reshape(shape)
        if array.dtype.kind == "f" and not bool(np.isfinite(array).all()):
            raise DamagedFile(name, f"array {array_name} holds NaN or infinity")
        arrays[array_name], end = array, stop
    if end != len(body):
        raise DamagedFile(name, f"{len(body) - end:,} bytes in it belong to no array")
    return arrays


def _are_counts(values: Any, most: int) -> bool:
    """A list of at most so many integers that can be sizes."""
    return (
        isinstance(values, list)
        and len(values) <= most
        and all(type(value) is int and 0 <= value <= _MOST_SIDE for value in values)
    )


def parse_json(text: bytes, name: str, what: str) -> dict[str, Any]:
    """A JSON object without repeated keys and with finite numbers.

    Raises:
        InputError: it is not.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        entries = dict(pairs)
        if len(entries) != len(pairs):
            raise ValueError("a key is there twice")
        return entries

    def refused(constant: str) -> Any:
        raise ValueError(f"{constant} is no number")

    try:
        value = json.loads(text.decode("utf-8"), object_pairs_hook=unique, parse_constant=refused)
    except (ValueError, RecursionError) as error:
        raise DamagedFile(name, f"its {what} is not the JSON that it should be ({type(error).__name__})") from None
    if not isinstance(value, dict):
        raise DamagedFile(name, f"its {what} is not a JSON object")
    return value
