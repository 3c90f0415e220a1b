"""Writes meshes and points to files that are either whole or not there."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from trimesh.exchange.gltf import export_glb
from trimesh.exchange.obj import export_obj
from trimesh.exchange.ply import export_ply
from trimesh.exchange.stl import export_stl
from trimesh.visual import TextureVisuals

from eugen_fields.errors import InputError

FORMATS = (".ply", ".glb", ".obj", ".stl")
_DIELECTRIC = {"pbrMetallicRoughness": {"metallicFactor": 0.0}}


def check_output(path: Path) -> None:
    """Makes the folder of a mesh file and checks that the file can be written there.

    Raises:
        InputError: the ending names no known format, the path is a folder or the folder cannot be written to.
    """
    if path.suffix.lower() not in FORMATS:
        found = f'"{path.suffix}"' if path.suffix else "no ending"
        raise InputError(f"--output {path}: {found}; the format follows the ending, one of {', '.join(FORMATS)}.")
    if path.is_dir():
        raise InputError(f"--output {path} is a folder; name a file in it, for example {path / 'mesh.ply'}.")
    probe = _unfinished(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise InputError(
            f"cannot write to {path.parent}: {error.strerror or error}. Choose another place with --output."
        ) from None


def write_mesh(mesh: trimesh.Trimesh, path: Path, facts: Mapping[str, Any] | None = None) -> None:
    """Writes a mesh with its colours and normals, format by the ending of the path.

    STL holds the shape alone. An OBJ with a texture has .mtl and .png files beside it, which bear its name.

    Args:
        facts: written to a .json file beside it, which bears its name too.

    Raises:
        InputError: as in check_output, or the write fails.
    """
    check_output(path)
    if path.suffix.lower() == ".obj" and isinstance(mesh.visual, TextureVisuals):
        text, beside = _encode_textured_obj(mesh, path)
        parts = {**beside, path: text}
    else:
        parts = {path: _ENCODERS[path.suffix.lower()](mesh)}
    _write(parts, path, facts)


def write_points(
    points: np.ndarray, normals: np.ndarray, colors: np.ndarray | None, path: Path, facts: Mapping[str, Any]
) -> None:
    """Writes points as a PLY, and what is known of them beside it.

    Args:
        points, normals: shape (N, 3).
        colors: RGB in [0, 1], shape (N, 3), or None.
        facts, and raises: as in write_mesh.
    """
    check_output(path)
    columns = [(name, "<f4") for name in ("x", "y", "z", "nx", "ny", "nz")]
    values = [points, normals]
    if colors is not None:
        columns += [(name, "u1") for name in ("red", "green", "blue")]
        values.append(np.round(colors * 255).clip(0, 255))
    table = np.zeros(len(points), dtype=columns)
    for (name, _), column in zip(columns, np.concatenate(values, axis=1).T):
        table[name] = column
    kinds = {"<f4": "float", "u1": "uchar"}
    lines = [f"property {kinds[kind]} {name}" for name, kind in columns]
    header = "\n".join(
        ["ply", "format binary_little_endian 1.0", f"element vertex {len(points)}", *lines, "end_header"]
    )
    _write({path: f"{header}\n".encode() + table.tobytes()}, path, facts)


def _write(parts: dict[Path, bytes], path: Path, facts: Mapping[str, Any] | None) -> None:
    """Writes files beside their places and then renames them all, so that an interrupted or failed write leaves no half
    file."""
    if facts is not None:
        parts[path.with_suffix(".json")] = (json.dumps(facts, indent=1) + "\n").encode()
    try:
        for part, content in parts.items():
            with open(_unfinished(part), "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        for part in parts:
            os.replace(_unfinished(part), part)
    except OSError as error:
        raise InputError(
            f"cannot write {path}: {error.strerror or error}. Choose another place with --output."
        ) from None
    finally:
        for part in parts:
            _unfinished(part).unlink(missing_ok=True)


def _unfinished(path: Path) -> Path:
    return path.with_name(f".unfinished-{os.getpid()}-{path.name}")


def _encode_ply(mesh: trimesh.Trimesh) -> bytes:
    return export_ply(mesh, encoding="binary", vertex_normal=True)


def _encode_obj(mesh: trimesh.Trimesh) -> bytes:
    """Colours follow the coordinates of each vertex ("v x y z r g b"), so there is no material file beside it."""
    return str(export_obj(mesh, include_normals=True, include_color=True)).encode()


def _encode_textured_obj(mesh: trimesh.Trimesh, path: Path) -> tuple[bytes, dict[Path, bytes]]:
    """The file, and the image and the material that it names."""
    visual: Any = mesh.visual
    image, material = path.with_suffix(".png"), path.with_suffix(".mtl")
    pixels = io.BytesIO()
    visual.material.baseColorTexture.save(pixels, format="PNG")
    # white, not lit: the field's colours have their lighting in them
    lines = ["newmtl surface", "Ka 1 1 1", "Kd 1 1 1", "Ks 0 0 0", "illum 0", f"map_Kd {image.name}"]
    text = [f"mtllib {material.name}", "usemtl surface"]
    for name, values in (("v", mesh.vertices), ("vt", visual.uv), ("vn", mesh.vertex_normals)):
        row = " ".join(["%.8g"] * values.shape[1])
        text += [f"{name} {row}" % tuple(value) for value in values.tolist()]
    text += ["f {0}/{0}/{0} {1}/{1}/{1} {2}/{2}/{2}".format(*face) for face in (mesh.faces + 1).tolist()]
    return "\n".join([*text, ""]).encode(), {
        image: pixels.getvalue(),
        material: "\n".join([*lines, ""]).encode(),
    }


def _encode_stl(mesh: trimesh.Trimesh) -> bytes:
    return export_stl(mesh)


def encode_glb(mesh: trimesh.Trimesh) -> bytes:
    """The content of a .glb file. glTF takes vertex colours as linear light and images as they are, and a field's
    colours have their lighting in them already: unlit. A mesh without colours is left to the light of whoever shows
    it."""
    visual: Any = mesh.visual
    if visual.kind is None:
        return export_glb(trimesh.Scene(mesh), include_normals=True)
    has_texture = isinstance(visual, TextureVisuals)
    if not has_texture:
        mesh = mesh.copy()
        srgb = visual.vertex_colors[:, :3] / 255.0
        light = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
        mesh.visual.vertex_colors = np.round(light * 255).astype(np.uint8)  # type: ignore[union-attr]

    def unlit(tree: dict[str, Any]) -> None:
        materials: list[dict[str, Any]] = tree["materials"] if has_texture else [dict(_DIELECTRIC)]
        tree["materials"] = [material | {"extensions": {"KHR_materials_unlit": {}}} for material in materials]
        tree["extensionsUsed"] = [*tree.get("extensionsUsed", ()), "KHR_materials_unlit"]
        for part in tree["meshes"]:
            for primitive in part["primitives"]:
                primitive["material"] = 0

    return export_glb(trimesh.Scene(mesh), include_normals=True, tree_postprocessor=unlit)


_ENCODERS = {".ply": _encode_ply, ".glb": encode_glb, ".obj": _encode_obj, ".stl": _encode_stl}
