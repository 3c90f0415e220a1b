"""Photos as a phone writes them: found in a folder, turned upright, copied, with what EXIF says of their lens."""

from __future__ import annotations

import importlib
import re
import shutil
import struct
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image

from eugen_fields.data.images import Size, read_upright
from eugen_fields.data.scenes.names import HEIF_ENDINGS, PHOTO_ENDINGS
from eugen_fields.errors import InputError
from eugen_fields.progress import Progress, counted

_VIDEO_ENDINGS = (".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".3gp", ".mts", ".insv")
_FILM_DIAGONAL = 43.267
"""Millimetres, of a frame of 36 x 24: what EXIF's "focal length in 35 mm film" refers to."""
_PICTURE_RANGE = (640, 1600)
"""Longer sides, pixels, between which photos are looked for features as they are: smaller ones are enlarged, which
finds features as fine as a pixel in them, larger ones made smaller."""
_ENLARGED = 2.0
_JPEG: dict[str, Any] = {"quality": 95, "subsampling": 0}


@dataclass(frozen=True)
class Photo:
    """A photo that was copied.

    Attributes:
        path: the file that it was read from.
        name: of its copy.
        size: width and height of its copy.
        focal: focal length of its copy in pixels, as EXIF has it, or None.
        picture_name, picture_size: name, and width and height, of the picture in which features are looked for. Names
            are numbers: COLMAP's lists of pairs have blanks between names.
    """

    path: Path
    name: str
    size: Size
    focal: float | None
    picture_name: str
    picture_size: Size


def find_photos(folder: Path) -> list[Path]:
    """The image files of a folder, in the order of their names, numbers in them by value. Names that begin with a dot
    are passed over.

    Raises:
        InputError: it is not there, is a file (a video, say), or has no images; the message says what would do.
    """
    if not folder.exists():
        raise InputError(f"{folder} does not exist. Give the folder with the photos.")
    if not folder.is_dir():
        if folder.suffix.lower() in _VIDEO_ENDINGS:
            raise InputError(
                f"{folder} is a video. Save two or three pictures of each second of it in a folder, for example with "
                f"`ffmpeg -i {folder.name} -vf fps=2 -qscale:v 2 PHOTOS/%04d.jpg`, and give that folder."
            )
        raise InputError(f"{folder} is a file. Give the folder with the photos.")
    try:
        files = [path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")]
    except OSError as error:
        raise InputError(f"cannot read {folder}: {error.strerror or error}.") from None
    photos = [path for path in files if path.suffix.lower() in PHOTO_ENDINGS]
    if photos:
        return sorted(photos, key=lambda path: (natural(path.name), path.name))
    inner = sorted({path.parent for path in folder.glob("*/*") if path.suffix.lower() in PHOTO_ENDINGS})
    videos = sorted(path.name for path in files if path.suffix.lower() in _VIDEO_ENDINGS)
    hint = "Photos are files that end in .jpg, .png, .heic, .webp, .tif and such."
    if inner:
        hint = f"There are some in {inner[0]}; give that folder."
    elif videos:
        hint = f"{videos[0]} is a video: save pictures of it as photos, two or three of each second."
    raise InputError(f"{folder} has no photos, but {len(files)} other files. {hint}")


def natural(name: str) -> list[tuple[int, int, str]]:
    """A key that sorts IMG_9 before IMG_10."""
    parts = re.findall(r"[0-9]+|[^0-9]+", name.lower())
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts]


def copy_photos(
    paths: Sequence[Path], images: Path, pictures: Path, longest: int | None, progress: Progress
) -> tuple[list[Photo], list[InputError]]:
    """Copies photos, upright and no larger than asked for, and writes a picture of each for finding features.

    Args:
        paths: of the photos.
        images: folder of the copies, JPEG or (of PNGs) PNG.
        pictures: folder of those in which features are looked for.
        longest: most pixels of the longer side of a copy; None: copies are as large as the photos.

    Returns:
        the photos that could be read, and what is wrong with the others.
    """
    copied, faults = [], []
    with counted(progress, "Reading photos", len(paths), "photo") as advance:
        for number, (path, name) in enumerate(zip(paths, copy_names(paths))):
            try:
                copied.append(_copy(path, images / name, pictures / f"{number:06d}.jpg", longest))
            except InputError as fault:
                faults.append(fault)
            advance(1)
    return copied, faults


def copy_names(paths: Sequence[Path]) -> list[str]:
    """A name for the copy of each photo: its own, ending in .png for PNGs, which may be transparent, else in .jpg.
    Photos that differ in their endings alone, such as IMG_1.HEIC and IMG_1.JPG, keep these: IMG_1_HEIC.jpg. No two
    names are the same, upper and lower case aside."""
    stems = [path.stem.lower() for path in paths]
    names: list[str] = []
    taken: set[str] = set()
    for path, stem in zip(paths, stems):
        kept = path.stem if stems.count(stem) == 1 else path.name.replace(".", "_")
        ending, number = ".png" if path.suffix.lower() == ".png" else ".jpg", 1
        name = kept + ending
        while name.lower() in taken:
            number += 1
            name = f"{kept}_{number}{ending}"
        taken.add(name.lower())
        names.append(name)
    return names


def _copy(path: Path, target: Path, picture_path: Path, longest: int | None) -> Photo:
    if path.suffix.lower() in HEIF_ENDINGS:
        _learn_heif(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # panoramas of phones are that large
        seen = read_upright(path)
        with Image.open(path) as stored:
            exif = stored.getexif()
            film_length = _film_length(exif)
            as_it_is = stored.format == "JPEG" and stored.mode == "RGB" and "icc_profile" not in stored.info
    as_it_is = as_it_is and exif.get(ExifTags.Base.Orientation, 1) == 1 and target.suffix == ".jpg"
    image = seen if longest is None else _resized(seen, min(1.0, longest / max(seen.size)))
    if as_it_is and image.size == seen.size:
        shutil.copyfile(path, target)  # no second loss by JPEG
    elif target.suffix == ".jpg":
        image.convert("RGB").save(target, **_JPEG)
    else:
        image.save(target)
    least, most = _PICTURE_RANGE
    picture = _resized(image, _ENLARGED if max(image.size) < least else min(1.0, most / max(image.size)))
    picture.convert("RGB").save(picture_path, **_JPEG)
    return Photo(path, target.name, image.size, _focal(film_length, image.size), picture_path.name, picture.size)


def _resized(image: Image.Image, scale: float) -> Image.Image:
    if scale == 1.0:
        return image
    width, height = (max(1, round(side * scale)) for side in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS)


def _film_length(exif: Image.Exif) -> Any:
    """What EXIF says of the focal length for 35 mm film, while the photo is open; None where it says nothing, or is
    damaged."""
    try:
        return exif.get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.FocalLengthIn35mmFilm)
    except (KeyError, TypeError, ValueError, SyntaxError, OSError, struct.error):
        return None


def _focal(film_length: Any, size: Size) -> float | None:
    """Focal length, pixels, of a photo of a size, from EXIF's for 35 mm film, whatever stands there: both are to the
    diagonal as that is to 43.3 mm (CIPA DCG-001)."""
    try:
        length = float(film_length)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return length / _FILM_DIAGONAL * (size[0] ** 2 + size[1] ** 2) ** 0.5 if 5.0 <= length <= 1000.0 else None


def _learn_heif(path: Path) -> None:
    """Has Pillow read HEIF, which phones of Apple write."""
    try:
        importlib.import_module("pillow_heif").register_heif_opener()
    except ImportError:
        raise InputError(
            f"{path} is in HEIF, which needs a package that is not installed: `pip install pillow-heif`. Or have the "
            "phone write JPEG (iPhone: Settings, Camera, Formats, Most Compatible)."
        ) from None
