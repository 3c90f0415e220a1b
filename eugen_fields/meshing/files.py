"""Writes a mesh to a file that is either whole or not there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from trimesh.exchange.gltf import export_glb
from trimesh.exchange.obj import export_obj
from trimesh.exchange.ply import export_ply

from eugen_fields.errors import InputError

FORMATS = (".ply", ".glb", ".obj")


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


def write_mesh(mesh: trimesh.Trimesh, path: Path) -> None:
    """Writes a mesh with vertex colours and normals, format by the ending of the path.

    The file is written beside and renamed, so that an interrupted or failed write leaves no half file.

    Raises:
        InputError: as in check_output, or the write fails.
    """
    check_output(path)
    unfinished = _unfinished(path)
    try:
        with open(unfinished, "wb") as file:
            file.write(_ENCODERS[path.suffix.lower()](mesh))
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    except OSError as error:
        raise InputError(
            f"cannot write {path}: {error.strerror or error}. Choose another place with --output."
        ) from None
    finally:
        unfinished.unlink(missing_ok=True)


def _unfinished(path: Path) -> Path:
    return path.with_name(f".unfinished-{os.getpid()}-{path.name}")


def _encode_ply(mesh: trimesh.Trimesh) -> bytes:
    return export_ply(mesh, encoding="binary", vertex_normal=True)


def _encode_obj(mesh: trimesh.Trimesh) -> bytes:
    """Colours follow the coordinates of each vertex ("v x y z r g b"), so there is no material file beside it."""
    return str(export_obj(mesh, include_normals=True, include_color=True)).encode()


def _encode_glb(mesh: trimesh.Trimesh) -> bytes:
    """glTF takes vertex colours as linear light, and a field's colours have their lighting in them already: unlit. A
    mesh without colours is left to the light of whoever shows it."""
    if mesh.visual.kind is None:  # type: ignore[union-attr]
        return export_glb(trimesh.Scene(mesh), include_normals=True)
    linear = mesh.copy()
    srgb = mesh.visual.vertex_colors[:, :3] / 255.0  # type: ignore[union-attr]
    light = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    linear.visual.vertex_colors = np.round(light * 255).astype(np.uint8)  # type: ignore[union-attr]

    def unlit(tree: dict[str, Any]) -> None:
        tree["materials"] = [
            {"pbrMetallicRoughness": {"metallicFactor": 0.0}, "extensions": {"KHR_materials_unlit": {}}}
        ]
        tree["extensionsUsed"] = [*tree.get("extensionsUsed", ()), "KHR_materials_unlit"]
        for part in tree["meshes"]:
            for primitive in part["primitives"]:
                primitive["material"] = 0

    return export_glb(trimesh.Scene(linear), include_normals=True, tree_postprocessor=unlit)


_ENCODERS = {".ply": _encode_ply, ".glb": _encode_glb, ".obj": _encode_obj}
