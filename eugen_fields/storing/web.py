"""A field file as one web page that renders it in any browser: the file itself, and the sources in page/, in one HTML."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from pathlib import Path
from typing import Any

import torch

from eugen_fields.errors import InputError
from eugen_fields.storing import container
from eugen_fields.storing.cameras import Camera
from eugen_fields.storing.deflate import gzip_of
from eugen_fields.storing.loading import StoredField, understand

_SOURCES = Path(__file__).with_name("page")
_SCRIPTS = (
    "reading/container.js",
    "reading/random.js",
    "reading/networks.js",
    "shaders/dialect.js",
    "shaders/network.js",
    "shaders/rays.js",
    "shaders/radiance.js",
    "shaders/distance.js",
    "shaders/present.js",
    "drawing/grid.js",
    "drawing/webgl.js",
    "drawing/webgpu.js",
    "drawing/field.js",
    "controls/view.js",
    "controls/frames.js",
    "controls/gestures.js",
    "controls/facts.js",
    "controls/main.js",
)
"""In the order in which they stand in the page."""


_PROBE_HEIGHT = 24
MOST_HELD = 4096


def check_width(stored: StoredField) -> None:
    """Raises InputError for a field that is too wide for a page."""


def page_of(data: bytes, path: Path) -> str:
    """The HTML of a page that shows a field.

    Everything is in it: it asks for nothing, its policy (CSP) forbids it to, and of scripts it runs its own alone. Texts
    of the file are shown as text.

    Args:
        data: a field file.
        path: of the file, for messages.

    Raises:
        InputError: this is no field file, or its field is too wide for a page.
    """
    stored = understand(container.decode(data, str(path)), path)
    check_width(stored)
    style, start = _source("page.css"), _source("start.js")
    program = '"use strict";\n(() => {\n' + "".join(_source(name) for name in _SCRIPTS) + "})();\n"
    name = html.escape(stored.scene.name or "A neural field")
    entries = {
        "policy": f"default-src 'none'; script-src {_hash(start)} {_hash(program)}; style-src {_hash(style)}; "
        "img-src data:; base-uri 'none'; form-action 'none'",
        "title": name,
        "name": name,
        "style": style,
        "start": start,
        "program": base64.b64encode(gzip_of([program.encode()])).decode(),
        "field": base64.b64encode(data).decode(),
        "about": _json_in_html({"probe": probe_of(stored)}),
    }
    template = (_SOURCES / "page.html").read_text(encoding="utf-8")
    return re.sub(r"\$([a-z]+)", lambda match: entries[match[1]], template)


def write_page(data: bytes, path: Path, output: Path) -> int:
    """Writes the page of a field file; returns its size in bytes.

    Args:
        data, path: as of page_of.
        output: HTML file to write.

    Raises:
        InputError: as page_of, or the file cannot be written.
    """
    page = page_of(data, path).encode()
    container.write(output, page)
    return len(page)


def probe_of(stored: StoredField) -> dict[str, Any]:
    """A ray through the field with the colour that torch gives it: the page's first pixel, which says whether the
    browser's driver draws what it should.

    Of a coarse picture by the first camera, or from a corner of the box, it is the ray that meets something and whose
    colour is farthest from the background.
    """
    camera = (stored.cameras[0] if stored.cameras else _from_corner(stored)).resized(_PROBE_HEIGHT)
    outputs = stored.render(camera)
    apart = (outputs["rgb"] - torch.tensor(stored.scene.background)).abs().sum(dim=-1)
    seen = outputs["accumulation"][..., 0]
    place = int((apart + (seen > 0.5)).argmax())
    row, column = divmod(place, camera.width)
    pose = camera.pose
    axes = {name: pose[:, axis].tolist() for axis, name in enumerate(("right", "up", "back", "origin"))}
    lens = {"fx": camera.fx, "fy": camera.fy, "cx": camera.cx - column, "cy": camera.cy - row}
    color = outputs["rgb"][row, column].tolist()
    return {"camera": axes | lens | {"width": 1, "height": 1}, "color": color}


def _from_corner(stored: StoredField) -> Camera:
    """A camera outside of the box that sees all of it."""
    low, high = stored.aabb
    back = torch.nn.functional.normalize(torch.tensor([0.5, -0.7, 0.5]), dim=0)
    right = torch.nn.functional.normalize(torch.linalg.cross(torch.tensor([0.0, 0.0, 1.0]), back), dim=0)
    origin = (low + high) / 2 + 1.3 * (high - low).norm() * back
    pose = torch.stack([right, torch.linalg.cross(back, right), back, origin], dim=1)
    return Camera(pose, 2 * _PROBE_HEIGHT, 2 * _PROBE_HEIGHT, 2.4 * _PROBE_HEIGHT, 2.4 * _PROBE_HEIGHT, *[_PROBE_HEIGHT] * 2)


def _source(name: str) -> str:
    return (_SOURCES / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """What a content security policy calls an inline script or style by."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _json_in_html(value: Any) -> str:
    """JSON that ends no element of a page, whatever texts are in it."""
    return json.dumps(value).replace("<", "\\u003c")
