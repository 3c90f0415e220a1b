"""Poses and lenses of photos, by COLMAP in a process of its own."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from eugen_fields.data.photos.pairs import photo_pairs
from eugen_fields.data.photos.reading import Photo
from eugen_fields.errors import InputError
from eugen_fields.progress import Progress, counted

_PROGRAM = Path(__file__).with_name("colmap_process.py")
_FOCAL = 0.8
"""Focal length in longer sides of a photo where EXIF says nothing: that of most phones, 26 to 29 mm of 36."""
_UNITS = {"Matching": "pair"}
LENS = ("fl_x", "fl_y", "cx", "cy", "k1", "k2", "p1", "p2")
"""Names in a transforms.json of the numbers of a lens, in the order of COLMAP's model OPENCV."""
FEWEST = 3
"""Photos that are needed."""
_WHAT_HELPS = (
    "What helps: 30 to 100 photos of which neighbours show two thirds of the same, from places a step apart (turning "
    "on the spot is not enough), sharp, at one zoom, of things that do not move and have some pattern."
)


@dataclass(frozen=True)
class PosedPhoto:
    """A photo whose pose and lens were found."""

    photo: Photo
    pose: Float[np.ndarray, "4 4"]
    """Camera-to-world, OpenGL axes."""
    lens: tuple[float, ...]
    """Numbers of `LENS`, pixels of the photo's copy."""


@dataclass(frozen=True)
class Solution:
    """What was found of a set of photos."""

    posed: list[PosedPhoto]
    """In the order of the photos."""
    points: Float[np.ndarray, "points 3"]
    """Places of feature points, in the world of the poses."""
    colors: UInt8[np.ndarray, "points 3"]
    pairs: int
    """Number of pairs of photos that were compared."""
    matched: int
    """Number of pairs that have points in common."""
    error: float
    """Mean distance, pixels of the pictures in which features are found, of points from where they should be seen."""


def check_pycolmap() -> None:
    """Raises InputError where the package that finds the poses is not installed."""
    if importlib.util.find_spec("pycolmap") is None:
        raise InputError(
            "finding poses needs the package pycolmap, which is not installed: `pip install pycolmap`, or "
            "scripts/setup.sh again. Where COLMAP and ffmpeg are installed, `ns-process-data images` does without it."
        )


def solve(photos: Sequence[Photo], work: Path, *, seed: int, threads: int, progress: Progress) -> Solution:
    """Finds poses and lenses of photos: features, matches, incremental mapping; the largest connected part.

    Photos of one size and one focal length are taken to be of one camera.

    Args:
        photos: in the order in which they were taken, at least three.
        work: folder with their pictures in `pictures/`; COLMAP's files come beside these.
        seed: of what is drawn at random.
        threads: how many may be used; -1: all. With 1 the outcome is the same on every call.
        progress: as in eugen_fields.progress.

    Raises:
        InputError: fewer than three got a pose, or COLMAP failed; the message says how many were matched.
    """
    check_pycolmap()
    focals = [_picture_focal(photo) for photo in photos]
    kinds = [(photo.picture_size, focal) for photo, focal in zip(photos, focals)]
    cameras = list(dict.fromkeys(kinds))
    job = {
        "images": [{"name": photo.picture_name, "camera": cameras.index(kind)} for photo, kind in zip(photos, kinds)],
        "cameras": [{"parameters": _start(size, focal)} for size, focal in cameras],
        "pairs": photo_pairs(len(photos)),
        "seed": seed,
        "threads": threads,
    }
    path = work / "job.json"
    path.write_text(json.dumps(job), encoding="utf-8")
    _run(path, threads, progress)
    found: dict[str, Any] = json.loads((work / "result.json").read_text(encoding="utf-8"))
    posed = _posed(photos, found)
    if len(posed) < FEWEST:
        least = f"{found['matched']} of {found['pairs']} pairs of them have points in common"
        raise InputError(f"COLMAP could place none of the {len(photos)} photos: {least}. {_WHAT_HELPS}")
    with np.load(work / "points.npz") as points:
        return Solution(
            posed, points["places"], points["colors"], found["pairs"], found["matched"], float(found["error"])
        )


def _picture_focal(photo: Photo) -> int | None:
    """Focal length of a photo's picture by EXIF, whole pixels."""
    return None if photo.focal is None else round(photo.focal * photo.picture_size[0] / photo.size[0])


def _start(size: tuple[int, int], focal: int | None) -> list[float]:
    """Numbers of COLMAP's model SIMPLE_RADIAL to begin with: focal length, principal point, distortion."""
    return [focal or _FOCAL * max(size), size[0] / 2, size[1] / 2, 0.0]


def _posed(photos: Sequence[Photo], found: dict[str, Any]) -> list[PosedPhoto]:
    posed = []
    for photo in photos:
        image = found.get("images", {}).get(photo.picture_name)
        if image is None:
            continue
        pose = np.eye(4)
        pose[:3] = image["camera_from_world"]
        pose = np.linalg.inv(pose) @ np.diag([1.0, -1.0, -1.0, 1.0])  # OpenCV's axes to OpenGL's
        posed.append(PosedPhoto(photo, pose, _lens(found["cameras"][str(image["camera"])], photo)))
    return posed


def _lens(camera: dict[str, Any], photo: Photo) -> tuple[float, ...]:
    """Numbers of `LENS` for the copy of a photo. Distortion is of directions and has no pixels in it."""
    numbers = camera["parameters"]
    if camera["model"] == "SIMPLE_RADIAL":
        focal, x, y, radial = numbers
        numbers = [focal, focal, x, y, radial, 0.0, 0.0, 0.0]
    across, down = (of_copy / of_picture for of_copy, of_picture in zip(photo.size, photo.picture_size))
    scales = (across, down, across, down)
    return (*(number * scale for number, scale in zip(numbers, scales)), *numbers[4:])


def _run(job: Path, threads: int, progress: Progress) -> None:
    """Runs the program to its end, and ends it if what waits for it ends."""
    log = job.with_name("log.txt")
    environment = dict(os.environ)
    if threads > 0:
        environment["OMP_NUM_THREADS"] = str(threads)
    with log.open("wb") as errors, contextlib.ExitStack() as bar:
        program = subprocess.Popen(
            [sys.executable, str(_PROGRAM), str(job)], stdout=subprocess.PIPE, stderr=errors, text=True, env=environment
        )
        try:
            assert program.stdout is not None
            follow = _Follower(progress, bar)
            for line in program.stdout:
                follow(line)
            status = program.wait()
        finally:
            program.kill()
            program.wait()
    if status != 0:
        lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
        said = f" It said: {lines[-1]}" if lines else ""
        raise InputError(f"COLMAP ended with status {status}.{said} Fewer or smaller photos may do (--longest-side).")


class _Follower:
    """Turns the lines of the program into progress, one bar after the other."""

    def __init__(self, progress: Progress, bar: contextlib.ExitStack) -> None:
        self.progress, self.bar = progress, bar
        self.what, self.done = "", 0
        self.advance: Callable[[int], object] = lambda count: None

    def __call__(self, line: str) -> None:
        try:
            what, done, total = json.loads(line)
        except (ValueError, TypeError):  # something else that a library printed
            return
        if what != self.what:
            self.bar.close()
            unit = next((unit for start, unit in _UNITS.items() if what.startswith(start)), "photo")
            self.advance = self.bar.enter_context(counted(self.progress, what, total, unit))
            self.what, self.done = what, 0
        if done > self.done:
            self.advance(done - self.done)
            self.done = done
