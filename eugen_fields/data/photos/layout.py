"""The folder that photos with poses become, as nerfstudio-data reads it, and the place that it is put at."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from eugen_fields.data.cameras.placing import Placement, place_cameras
from eugen_fields.data.photos.solving import LENS, Solution
from eugen_fields.errors import InputError

NOTE = "photos.json"
_TRANSFORMS, _IMAGES, _POINTS = "transforms.json", "images", "sparse_pc.ply"
_FEWEST_TO_SPLIT = 10
"""Photos below which none is left to test with, of which data parsers take every tenth: scores are of all photos."""
_ADVICE = "Name another folder with --output, or empty this one."


def check_target(folder: Path, photos: Path) -> None:
    """Checks that a folder is not there, is empty, or is what an earlier call made, which is then replaced.

    Raises:
        InputError: it holds anything else, or the photos.
    """
    if folder.resolve() == photos.resolve() or folder.resolve() in photos.resolve().parents:
        raise InputError(f"--output {folder} would replace the photos in {photos}. Name another folder.")
    if not folder.exists():
        return
    if not folder.is_dir():
        raise InputError(f"--output {folder} is a file. Name a folder.")
    if folder.is_mount() or folder.resolve() == Path.cwd():
        raise InputError(f"--output {folder} cannot be replaced, as it is in use. Name a folder inside of it.")
    others = [name for name in sorted(os.listdir(folder)) if not _is_ours(name)]
    if others:
        raise InputError(f"--output {folder} holds {others[0]}, which eugen-photos did not write. {_ADVICE}")
    if os.listdir(folder) and not (folder / NOTE).is_file():
        raise InputError(
            f"--output {folder} holds {sorted(os.listdir(folder))[0]} but no {NOTE}, so that eugen-photos did not "
            f"write it. {_ADVICE}"
        )


def _is_ours(name: str) -> bool:
    """Whether a name is of what is written here, or of smaller copies of the images, which data parsers make."""
    copies = name.removeprefix(f"{_IMAGES}_")
    return name in (_TRANSFORMS, _IMAGES, _POINTS, NOTE) or (copies != name and copies.isdecimal())


@contextlib.contextmanager
def folder_beside(folder: Path) -> Iterator[Path]:
    """Makes a folder whole or not at all: a `with` block fills the one that this gives, which then takes the place of
    the other. If the block fails, nothing is left of it, and a folder that was there before is as it was.

    Raises:
        InputError: it cannot be made there.
    """
    unfinished, before = (folder.parent / f".{what}-{os.getpid()}-{folder.name}" for what in ("unfinished", "before"))
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        unfinished.mkdir()
    except OSError as error:
        raise InputError(f"cannot write to {folder}: {error.strerror or error}. {_ADVICE}") from None
    try:
        yield unfinished
        if folder.exists():
            folder.rename(before)
        try:
            unfinished.rename(folder)
        except OSError:
            if before.exists():
                before.rename(folder)
            raise
    finally:
        for leftover in (unfinished, before):
            shutil.rmtree(leftover, ignore_errors=True)


def write_capture(folder: Path, solution: Solution, note: dict[str, Any]) -> None:
    """Writes transforms.json and the feature points beside the folder `images`.

    COLMAP's world lies as its first camera happens to. Here z is up, as the photos are held, the origin is where the
    cameras look, and the farthest camera has a coordinate of 1, so that exported meshes stand upright.

    Args:
        folder: that has the copies of the photos in `images`; those without a pose are removed.
        solution: of the photos.
        note: what else to write down, in photos.json.
    """
    poses = np.array([posed.pose for posed in solution.posed])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of cameras that look in parallel: the middle of their places does as well
        placement = place_cameras(poses, "vertical", "focus", True, 1.0)
    moved = np.tile(np.eye(4), (len(poses), 1, 1))
    moved[:, :3] = placement.transform @ poses
    moved[:, :3, 3] *= placement.scale
    lenses = [
        {"w": posed.photo.size[0], "h": posed.photo.size[1]} | dict(zip(LENS, posed.lens)) for posed in solution.posed
    ]
    shared = lenses[0] if all(lens == lenses[0] for lens in lenses) else {}
    content: dict[str, Any] = {"camera_model": "OPENCV"} | shared | {"ply_file_path": _POINTS}
    content["frames"] = [
        {"file_path": f"{_IMAGES}/{posed.photo.name}"} | ({} if shared else lens) | {"transform_matrix": pose.tolist()}
        for posed, lens, pose in zip(solution.posed, lenses, moved)
    ]
    if len(poses) < _FEWEST_TO_SPLIT:
        names = [frame["file_path"] for frame in content["frames"]]
        content |= {f"{split}_filenames": names for split in ("train", "val", "test")}
    kept = {posed.photo.name for posed in solution.posed}
    for image in (folder / _IMAGES).iterdir():
        if image.name not in kept:
            image.unlink()
    _write_points(folder / _POINTS, _moved(placement, solution.points), solution.colors)
    _write_json(folder / NOTE, note)
    _write_json(folder / _TRANSFORMS, content)


def _moved(placement: Placement, points: np.ndarray) -> np.ndarray:
    return placement.scale * (points @ placement.transform[:, :3].T + placement.transform[:, 3])


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _write_points(path: Path, points: np.ndarray, colors: np.ndarray) -> None:
    """Points (N, 3) with colours (N, 3), uint8, as a binary PLY."""
    fields = [(name, "<f4") for name in "xyz"] + [(name, "u1") for name in ("red", "green", "blue")]
    rows = np.empty(len(points), dtype=fields)
    for index, name in enumerate("xyz"):
        rows[name] = points[:, index]
    for index, name in enumerate(("red", "green", "blue")):
        rows[name] = colors[:, index]
    kinds = {"<f4": "float", "u1": "uchar"}
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(points)}"]
    header += [f"property {kinds[kind]} {name}" for name, kind in fields] + ["end_header", ""]
    path.write_bytes("\n".join(header).encode() + rows.tobytes())
