"""A field file as one web page that renders it in any browser: the file and the sources in page/, in one HTML."""

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
from eugen_fields.fields import SDFField
from eugen_fields.layers.folding.folded import INPUT, FoldedStage, Joined, value_name
from eugen_fields.layers.folding.seeded import FoldedPRP
from eugen_fields.runs import Run, open_run
from eugen_fields.storing import container
from eugen_fields.storing.cameras import Camera
from eugen_fields.storing.deflate import gzip_of
from eugen_fields.storing.draft import draft_of
from eugen_fields.storing.loading import StoredField, understand
from eugen_fields.storing.scene import PlanesScene
from eugen_fields.writing import check_place

SOURCES = Path(__file__).with_name("page")
_SCRIPTS = (
    "reading/container.js",
    "reading/random.js",
    "reading/networks.js",
    "reading/planes.js",
    "shaders/dialect.js",
    "shaders/network.js",
    "shaders/rays.js",
    "shaders/places.js",
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


MOST_TEXELS = 1 << 22
"""Of feature planes: a texture of 2048 x 2048, which every WebGL2 has."""
_PROBE_HEIGHT = 24
_MOST_PROBE_WIDTH = 240
MOST_WIDTH = 640
MOST_READS = 450
"""Blocks of four numbers that all stages of a field read, those of stages that are alike counted once: about as many
lines as the shader's loops have. Measured with Chromium's software renderer (SwiftShader): networks of width 640, and
of 456 such lines, draw what torch does after up to ten seconds of compiling; with width 768, or 552 lines, its process
dies."""


def check_run(path: Path, output: Path, device: str | None = None, step: int | None = None) -> Run:
    """Opens a run that a page is asked for, before anything that takes long.

    Raises:
        InputError: it cannot be opened or stored, its field is too wide for a page, or the page cannot be written.
    """
    run = open_run(path, device, step)
    check_width(draft_of(run).open(), is_draft=True)
    check_place(output, advice=container.OTHER_PLACE)
    return run


def check_width(stored: StoredField, *, is_draft: bool = False) -> None:
    """Raises InputError for a field that is too wide for a page, or has planes of floats, as all drafts have."""
    networks: list[Any] = [stored.field.trunk]
    if not isinstance(stored.field, SDFField):
        networks.append(stored.field.color_head)
    if isinstance(stored.scene, PlanesScene):
        _check_planes(stored, stored.scene, is_draft)
    stages = [stage for network in networks for stage in network.stages]
    width = max(stage.out_features for stage in stages)
    reads = sum(shader_reads(network) for network in networks)
    if width > MOST_WIDTH or reads > MOST_READS:
        found = (
            f"a layer of it has {width} values, and a page can show {MOST_WIDTH}"
            if width > MOST_WIDTH
            else f"its layers read {reads} blocks of four numbers, and a page can show {MOST_READS}"
        )
        raise InputError(
            f"{stored.path} is too wide for a web page: {found}; drivers that draw in software fail on more. Store it "
            "with --field alone, or train a narrower network: EUGen layers read few numbers."
        )


def _check_planes(stored: StoredField, scene: PlanesScene, is_draft: bool) -> None:
    if not is_draft and not all(f"planes.{level}" in stored.bits for level in range(len(scene.plane_resolutions))):
        raise InputError(
            f"{stored.path} has planes of floats, and pages show planes of integers alone: those of files that "
            "eugen-export writes."
        )
    texels = 3 * -(-scene.plane_channels // 4) * sum(side**2 for side in scene.plane_resolutions)
    if texels > MOST_TEXELS:
        raise InputError(
            f"the planes of {stored.path} fill {texels:,} texels of four channels, and a page can show "
            f"{MOST_TEXELS:,}. Store them with --field alone, or train planes with fewer entries."
        )


def shader_reads(network: Any) -> int:
    """Blocks of four numbers that the stages of a folded network read, for each output; runs of stages that are alike
    count once, as they are a loop in the shader."""
    pieces = {INPUT: [0]}
    total, before = 0, None
    for index, stage in enumerate(network.stages):
        assert isinstance(stage, FoldedStage | FoldedPRP | Joined)
        if isinstance(stage, Joined):
            pieces[value_name(index)] = [width for name in stage.reads for width in pieces[name]]
            before = None
            continue
        columns = _columns(stage)
        if index == 0:
            pieces[INPUT] = [columns[INPUT]]
        blocks = {name: sum(-(-width // 4) for width in pieces[name]) for name in stage.reads}
        products = stage.products if isinstance(stage, FoldedStage) else None
        count, order = (products[0], products[1]) if products else (stage.out_features, 1)
        norm = getattr(stage, "norm_weight", None)
        rows = len(stage.bias) if isinstance(stage, FoldedStage) else stage.out_features
        pieces[value_name(index)] = [count] * order
        is_plain = order == 1 and stage.reads == (value_name(index - 1),) and columns[stage.reads[0]] == rows
        shape = (rows, stage.activation, None if norm is None else len(norm), getattr(stage, "squared_norm", None))
        if not (is_plain and shape == before):
            total += rows // count * sum(blocks.values()) + (0 if norm is None else blocks[stage.reads[0]])
        before = shape if is_plain else None
    return total


def _columns(stage: Any) -> dict[str, int]:
    if isinstance(stage, FoldedStage):
        return {name: weight.shape[1] for name, weight in stage.weights.items()}
    return {name: stage.in_features for name in stage.reads}


def page_of(data: bytes, path: Path) -> str:
    """The HTML of a page that shows a field.

    Everything is in it: it asks for nothing, its policy (CSP) forbids it to, and of scripts it runs its own alone.
    Texts of the file are shown as text.

    Args:
        data: a field file.
        path: of the file, for messages.

    Raises:
        InputError: this is no field file, or its field is too wide for a page.
    """
    stored = understand(container.decode(data, str(path)), path)
    check_width(stored)
    style, start = _source("page.css"), _source("start.js")
    program = '"use strict";\n(() => {\n' + "".join(_compact(_source(name)) for name in _SCRIPTS) + "})();\n"
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
    template = (SOURCES / "page.html").read_text(encoding="utf-8")
    return re.sub(r"\$([a-z]+)", lambda match: entries[match[1]], template)


def write_page(path: Path, output: Path) -> int:
    """Writes the page of a field file; returns its size in bytes.

    Args:
        path: of the field file.
        output: HTML file to write.

    Raises:
        InputError: as page_of, or a file cannot be read or written.
    """
    page = page_of(container.read_bytes(path), path).encode()
    container.write(output, page)
    return len(page)


def probe_of(stored: StoredField) -> dict[str, Any]:
    """A ray through the field with the colour that torch gives it: the page's first pixel, which says whether the
    browser's driver draws what it should.

    Of a coarse picture by the first camera, or from a corner of the box, it is the ray that meets something and whose
    colour is farthest from the background.
    """
    wide = not stored.cameras or stored.cameras[0].width > _MOST_PROBE_WIDTH * stored.cameras[0].height
    whole = _from_corner(stored) if wide else stored.cameras[0]
    camera = whole.resized(max(1, min(_PROBE_HEIGHT, _MOST_PROBE_WIDTH * whole.height // whole.width)))
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
    half = _PROBE_HEIGHT
    return Camera(pose, 2 * half, 2 * half, 2.4 * half, 2.4 * half, half, half)


def _source(name: str) -> str:
    return (SOURCES / name).read_text(encoding="utf-8")


def _compact(script: str) -> str:
    """JavaScript without its comments and indentation, a sixth of a page: readers find the sources in the package."""
    script = re.sub(r"^ */\*\*.*?\*/\n", "", script, flags=re.DOTALL | re.MULTILINE)
    lines = (line.strip() for line in script.splitlines())
    return "".join(f"{line}\n" for line in lines if line and not line.startswith("//"))


def _hash(text: str) -> str:
    """What a content security policy calls an inline script or style by."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _json_in_html(value: Any) -> str:
    """JSON that ends no element of a page, whatever texts are in it."""
    return json.dumps(value).replace("<", "\\u003c")
