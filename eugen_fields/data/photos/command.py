"""The eugen-photos command: a folder of photos to a capture with poses that ns-train reads."""

from __future__ import annotations

import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from eugen_fields.errors import InputError, exit_on_input_error, show_number


@dataclass
class PhotoOptions:
    """Finds where the photos of a folder were taken from, and writes them with poses and lens as a transforms.json that
    `ns-train METHOD --data DIR nerfstudio-data` reads. COLMAP does it, in the pip package pycolmap, so that no other
    program is needed; where COLMAP and ffmpeg are installed, nerfstudio's `ns-process-data` does the like, of videos
    too. Photos are turned upright, EXIF's focal length is a start, photos that cannot be placed are left out."""

    photos: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="PHOTOS")]
    """Folder of photos of one scene: .jpg, .png, .heic, .webp and others, of any size and any number of cameras."""
    output: Path
    """Folder to write: images, transforms.json, sparse_pc.ply, photos.json. What an earlier eugen-photos wrote there
    is replaced, with smaller copies of its images (images_2, ...); nothing else is."""
    longest_side: int = 1600
    """Most pixels of the longer side of the images that are written; larger photos are made smaller. 0: as they are."""
    threads: int = -1
    """Number of threads. -1: one per core. With 1, one seed always gives the same poses."""
    seed: int = 0
    """Seed of what COLMAP draws at random."""

    def check(self) -> None:
        """Raises InputError where an option is out of range."""
        if self.longest_side != 0 and not 64 <= self.longest_side <= 100_000:
            raise InputError(f"--longest-side is {show_number(self.longest_side)}; it must be 0, or 64 to 100000.")
        if self.threads != -1 and not 1 <= self.threads <= 1024:
            raise InputError(f"--threads is {show_number(self.threads)}; it must be -1, or 1 to 1024.")
        if not 0 <= self.seed < 2**31:
            raise InputError(f"--seed is {show_number(self.seed)}; it must lie between 0 and {2**31 - 1}.")


@exit_on_input_error()
def main() -> None:
    """Entry point of eugen-photos."""
    options = tyro.cli(PhotoOptions, prog="eugen-photos")
    try:
        lines = place_photos(options)
    except KeyboardInterrupt:
        raise SystemExit("stopped; no folder was written.") from None
    print("\n".join(f"{name:<9}  {value}" for name, value in lines.items()))


def place_photos(options: PhotoOptions, progress: bool = True) -> dict[str, Any]:
    """Writes the capture; what is to be said of it, by its name.

    Raises:
        InputError: a bad option, photos or folder, or photos that could not be placed.
    """
    from eugen_fields.data.photos.layout import check_target, folder_beside, write_capture
    from eugen_fields.data.photos.reading import copy_photos, find_photos
    from eugen_fields.data.photos.solving import FEWEST, check_pycolmap, solve

    options.check()
    folder, output = options.photos.expanduser(), options.output.expanduser()
    output = output.resolve() if output.is_symlink() else output
    paths = find_photos(folder)
    check_target(output, folder)
    check_pycolmap()
    if len(paths) < FEWEST:
        raise InputError(f"{folder} has {len(paths)} photos; at least three are needed, and 30 to 100 are good.")
    with folder_beside(output) as unfinished:
        images, work = unfinished / "images", unfinished / "work"
        for made in (images, work / "pictures"):
            made.mkdir(parents=True)
        photos, faults = copy_photos(paths, images, work / "pictures", options.longest_side or None, progress)
        if len(photos) < FEWEST:
            raise InputError(
                f"{folder}: {len(photos)} of {len(paths)} photos can be read, and at least three are needed. The first "
                f"that cannot: {faults[0].message}"
            )
        solution = solve(photos, work, seed=options.seed, threads=options.threads, progress=progress)
        shutil.rmtree(work)
        placed = {posed.photo.path for posed in solution.posed}
        left_out = [photo.path.name for photo in photos if photo.path not in placed]
        note = {
            "photos": str(folder.absolute()),
            "found": len(paths),
            "placed": len(placed),
            "left_out": left_out,
            "unreadable": [fault.message for fault in faults],
            "pairs": solution.pairs,
            "pairs_in_common": solution.matched,
            "points": len(solution.points),
            "error_pixels": solution.error,
            "seed": options.seed,
        }
        write_capture(unfinished, solution, note)
    lines: dict[str, Any] = {"photos": f"{len(placed)} of {len(paths)} got a pose"}
    if left_out:
        lines["left out"] = f"{_some(left_out)}: too little in common with the others"
    if faults:
        lines["damaged"] = f"{len(faults)} left out, first: {faults[0].message}"
    lens = solution.posed[0]
    lines["points"] = f"{len(solution.points):,}; seen {solution.error:.2f} pixels from where they should be"
    lines["lens"] = f"focal length {lens.lens[0]:.4g} pixels of {lens.photo.size[0]}x{lens.photo.size[1]}"
    lines["folder"] = output
    lines["train"] = f"ns-train eugen-planes-tiny --data {shlex.quote(str(output))} nerfstudio-data"
    return lines


def _some(names: list[str], most: int = 5) -> str:
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} others" if rest > 0 else "")


if __name__ == "__main__":
    main()
