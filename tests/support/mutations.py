"""Damage to files, drawn at random: what arrives from broken disks, other programs, and people who mean harm."""

from __future__ import annotations

import io
import json
import pickle
import random
import re
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

VALUES: list[Any] = [
    None, "", "x", "1", "nan", "../../../etc/passwd", "\0", "\u202e", "a" * 5000, True, 0, -1, 1, 2, 0.5, -0.0, 1e-320,
    1e30, 1e308, 10**30, -(10**30), 2**31, 2**63, float("nan"), float("inf"), float("-inf"), [], {}, [[]], [1, 2, 3],
    [[0.0] * 4] * 4, [[1.0] * 3] * 3, [["1"] * 4] * 4, {"x": 1},
]  # fmt: skip
"""In place of a value of a JSON file."""

NUMBERS = (
    "nan",
    "inf",
    "-inf",
    "1e30",
    "1" + 30 * "0",
    "9" * 400,
    "-1",
    "0",
    "1e-320",
    "1e308",
    "x",
    "",
    "0x10",
    "1,5",
    "\u0661",
)
"""In place of a number of a text."""


class Touch:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return exec, (f"open({str(self.path)!r}, 'w').close()",)


def damage_bytes(rng: random.Random, path: Path) -> str:
    """Cuts, flips, removes or replaces a file. Returns what was done, as all functions here do."""
    content = path.read_bytes()
    middle = rng.randrange(max(1, len(content)))
    kinds: dict[str, Callable[[], Any]] = {
        "cut": lambda: path.write_bytes(content[:middle]),
        "emptied": lambda: path.write_bytes(b""),
        "removed": path.unlink,
        "noise": lambda: path.write_bytes(rng.randbytes(rng.randrange(1, 2000))),
        "zeros": lambda: path.write_bytes(bytes(len(content))),
        "flipped": lambda: path.write_bytes(_flipped(rng, content)),
        "a part twice": lambda: path.write_bytes(content[:middle] + content[middle // 2 :]),
        "made a folder": lambda: (path.unlink(), path.mkdir()),
        "a circle of links": lambda: (path.unlink(), path.symlink_to(path)),
        "a pipe's end": lambda: (path.unlink(), path.symlink_to("/dev/null")),
    }
    return _one_of(rng, kinds, path)


def damage_text(rng: random.Random, path: Path) -> str:
    """Replaces numbers, lines or the encoding of a text file."""
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines(keepends=True)
    at = rng.randrange(max(1, len(lines)))

    def number() -> None:
        places = list(re.finditer(r"-?\d[\d.e+-]*", text))
        place = rng.choice(places) if places else re.match("", text)
        path.write_text(text[: place.start()] + rng.choice(NUMBERS) + text[place.end() :], encoding="utf-8")

    kinds: dict[str, Callable[[], Any]] = {
        "a number": number,
        "another number": number,
        "a line less": lambda: path.write_text("".join(lines[:at] + lines[at + 1 :]), encoding="utf-8"),
        "a line twice": lambda: path.write_text("".join(lines[: at + 1] + lines[at:]), encoding="utf-8"),
        "noise in a line": lambda: path.write_bytes(
            "".join(lines[:at]).encode() + rng.randbytes(20) + b"\n" + "".join(lines[at:]).encode()
        ),
        "UTF-16": lambda: path.write_text(text, encoding="utf-16"),
        "a byte order mark": lambda: path.write_text(text, encoding="utf-8-sig"),
        "Windows lines": lambda: path.write_text(text, encoding="utf-8", newline="\r\n"),
        "a word less": lambda: path.write_text(re.sub(r"\S+\s", "", text, count=1), encoding="utf-8"),
        "bytes": lambda: damage_bytes(rng, path),
    }
    return _one_of(rng, kinds, path)


def damage_json(rng: random.Random, path: Path) -> str:
    """Replaces, removes or repeats values of a JSON file, at any depth."""
    content = json.loads(path.read_text(encoding="utf-8"))
    if rng.random() < 0.15:
        return damage_text(rng, path)
    if rng.random() < 0.05:
        depth = rng.choice((100, 100_000))
        path.write_text('{"frames": ' + "[" * depth + "]" * depth + "}")
        return f"{path.name}: {depth} brackets"
    done = []
    for _ in range(rng.choice((1, 1, 2, 5))):
        parent, key = _place(rng, content)
        kind = rng.choice(("replaced", "replaced", "removed", "repeated", "negated"))
        if kind == "removed":
            del parent[key]
        elif kind == "repeated" and isinstance(parent, list):
            parent.append(parent[key])
        elif kind == "negated" and isinstance(parent[key], (int, float)):
            parent[key] = -parent[key] * rng.choice((1, 1000))
        else:
            parent[key] = rng.choice(VALUES)
        done.append(f"{key} {kind}")
        if not content:
            break
    path.write_text(json.dumps(content), encoding="utf-8")
    return f"{path.name}: {', '.join(done)}"


def damage_image(rng: random.Random, path: Path) -> str:
    """Replaces an image by one of another mode, size or format, or by a bomb."""
    try:
        image = Image.open(path)
        image.load()
    except OSError:
        return damage_bytes(rng, path)
    rgba = image.convert("RGBA")
    size = rng.choice(
        ((1, 1), (image.width + 1, image.height), (image.width // 2, image.height // 2), (4000, 3), image.size)
    )
    mode = rng.choice(("L", "LA", "P", "1", "I;16", "I", "F", "CMYK", "RGB", "RGBA", "YCbCr"))
    other = "TIFF" if mode in ("I", "F", "CMYK", "YCbCr") else "PNG"
    base = {"YCbCr": "RGB", "I;16": "L", "I": "L", "F": "L", "1": "L"}.get(mode, mode)
    converted = rgba.convert(base)
    if mode == "I;16":
        converted = Image.fromarray(np.asarray(converted).astype(np.uint16) * 257)
    elif mode != base:
        converted = converted.convert(mode)

    def save(picture: Image.Image, kind: str, **options: Any) -> None:
        path.unlink()
        with open(path, "wb") as file:
            picture.save(file, kind, **options)

    exif = Image.Exif()
    exif[0x0112] = rng.randrange(10)
    kinds: dict[str, Callable[[], Any]] = {
        f"mode {mode}": lambda: save(converted, other),
        f"mode {mode} again": lambda: save(converted, other),
        f"size {size}": lambda: save(rgba.resize(size), "PNG"),
        "turned by EXIF": lambda: save(rgba.convert("RGB"), "JPEG", exif=exif),
        "frames of a GIF": lambda: save(rgba.convert("P"), "GIF", save_all=True, append_images=[rgba.convert("P")] * 3),
        "WebP": lambda: save(rgba, "WEBP"),
        "BMP": lambda: save(rgba.convert("RGB"), "BMP"),
        "a bomb": lambda: path.write_bytes(_png(100_000, 100_000)),
        "a smaller bomb": lambda: path.write_bytes(_png(12_000, 9_000)),
        "no pixels": lambda: path.write_bytes(_png(0, 0)),
        "SVG": lambda: path.write_text("<svg xmlns='http://www.w3.org/2000/svg'/>"),
        "transparent": lambda: save(Image.new("RGBA", rgba.size), "PNG"),
        "bytes": lambda: damage_bytes(rng, path),
        "cut": lambda: path.write_bytes(path.read_bytes()[: rng.randrange(path.stat().st_size)]),
    }
    return _one_of(rng, kinds, path)


def damage_checkpoint(rng: random.Random, path: Path, canary: Path) -> str:
    """Replaces tensors, numbers or code of a checkpoint."""
    state = torch.load(path, weights_only=True)
    weights = state["pipeline"]
    name = rng.choice(list(weights))
    value = weights[name]

    def save(key: str, new: Any, among: dict[str, Any] = state) -> None:
        among[key] = new
        torch.save(state, path)

    def pickled() -> None:
        path.write_bytes(pickle.dumps({"step": 1, "pipeline": Touch(canary)}))

    def hidden_in_zip() -> None:
        with zipfile.ZipFile(path) as archive:
            parts = {entry: archive.read(entry) for entry in archive.namelist()}
        with zipfile.ZipFile(path, "w") as archive:
            for entry, content in parts.items():
                archive.writestr(entry, pickle.dumps(Touch(canary)) if entry.endswith("data.pkl") else content)

    def less(key: str, among: dict[str, Any]) -> None:
        del among[key]
        torch.save(state, path)

    tensors = isinstance(value, torch.Tensor)
    kinds: dict[str, Callable[[], Any]] = {
        "pickled code": pickled,
        "code in the archive": hidden_in_zip,
        "a weight less": lambda: less(name, weights),
        "an entry less": lambda: less(rng.choice(list(state)), state),
        "a weight more": lambda: save("_model.field.other", torch.ones(3), weights),
        "NaN": lambda: save(name, torch.full(getattr(value, "shape", ()), float("nan")), weights),
        "another shape": lambda: save(name, torch.zeros(rng.choice(((), (1,), (0,), (3, 3, 3)))), weights),
        "another type": lambda: save(name, value.to(rng.choice((torch.float16, torch.int8, torch.complex64))), weights),
        "no tensor": lambda: save(name, rng.choice((None, "x", 3, [1], {})), weights),
        "a huge tensor": lambda: save(name, torch.zeros(1).expand(10**12), weights),
        "another step": lambda: save("step", rng.choice((None, -1, "x", 10**30, float("nan"), torch.ones(2), 1e9))),
        "other weights": lambda: save("pipeline", rng.choice((None, [], {}, {"x": 1}, {1: torch.ones(1)}, "x"))),
        "other optimisers": lambda: save("optimizers", rng.choice((None, {}, {"fields": {}}, [], "x"))),
        "other schedulers": lambda: save("schedulers", rng.choice((None, {}, {"fields": {}}, [], "x"))),
        "a step of the name": lambda: path.rename(path.with_name("step-" + "9" * rng.choice((9, 40)) + ".ckpt")),
        "a text": lambda: path.write_text("no checkpoint"),
        "bytes": lambda: damage_bytes(rng, path),
        "flipped": lambda: path.write_bytes(_flipped(rng, path.read_bytes())),
    }
    if not tensors:
        kinds.pop("another type")
    return _one_of(rng, kinds, path)


def damage_config(rng: random.Random, path: Path, canary: Path) -> str:
    """Replaces settings of a config.yml, or has it call something."""
    text = path.read_text(encoding="utf-8")
    code = rng.choice(
        (
            f'!!python/object/apply:os.system ["touch {canary}"]',
            f'!!python/object/new:os.system ["touch {canary}"]',
            f'!!python/object/apply:builtins.exec ["open({str(canary)!r}, {"w"!r})"]',
            "!!python/name:eugen_fields.nothing.there ''",
            "!!python/object:builtins.dict {}",
        )
    )
    settings = list(re.finditer(r"(?m)^( *[\w.]+: )(\S.*)$", text))
    place = rng.choice(settings)
    bomb = "a: &a [x, x]\n" + "".join(f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdefghijklm", "bcdefghijklmn"))
    value = rng.choice((*NUMBERS, "[]", "{}", "null", "true", "*nothing", "&id001 x", "- x", "!!binary x", code, code))
    kinds: dict[str, Callable[[], Any]] = {
        "a setting": lambda: path.write_text(text[: place.start(2)] + value + text[place.end(2) :]),
        "a setting again": lambda: path.write_text(text[: place.start(2)] + value + text[place.end(2) :]),
        "code": lambda: path.write_text(code),
        "code in front": lambda: path.write_text(text.replace("\n", f"\nhidden: {code}\n", 1)),
        "a bomb": lambda: path.write_text(text + bomb),
        "depth": lambda: path.write_text("[" * 5000),
        "a list": lambda: path.write_text("- 1\n- 2\n"),
        "text": lambda: damage_text(rng, path),
    }
    return _one_of(rng, kinds, path)


def _one_of(rng: random.Random, kinds: dict[str, Callable[[], Any]], path: Path) -> str:
    kind = rng.choice(list(kinds))
    inner = kinds[kind]()
    return inner if isinstance(inner, str) and ": " in inner else f"{path.name}: {kind}"


def _place(rng: random.Random, content: Any) -> tuple[Any, Any]:
    """Somewhere in a JSON file: a list or object that is not empty, and a place in it."""
    parent, key = content, rng.choice(list(content) if isinstance(content, dict) else range(len(content)))
    while isinstance(parent[key], (dict, list)) and parent[key] and rng.random() < 0.8:
        parent = parent[key]
        key = rng.choice(list(parent) if isinstance(parent, dict) else range(len(parent)))
    return parent, key


def _flipped(rng: random.Random, content: bytes) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice((1, 3, 30)) if changed else 0):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def _png(width: int, height: int) -> bytes:
    """A small file that says it is a black picture of any size; of very large ones the most is missing."""
    raw = io.BytesIO()
    packer = zlib.compressobj(9)
    for _ in range(height if height < 10_000 else 10):
        raw.write(packer.compress(bytes(1 + (width + 7) // 8)))
    raw.write(packer.flush())

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", raw.getvalue()) + chunk(b"IEND", b"")


def copy(source: Path, target: Path) -> Path:
    """A folder to damage."""
    return Path(shutil.copytree(source, target))
