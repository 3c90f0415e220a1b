"""Image files as an image program shows them: photos of every mode as 8-bit colours, masks as valid or not."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageCms

from eugen_fields.errors import InputError

Size = tuple[int, int]
"""Width and height, pixels."""

_PREMULTIPLIED = {"La": "LA", "RGBa": "RGBA"}
_SIDEWAYS = (5, 6, 7, 8)
"""EXIF orientations of photos that are stored with width and height exchanged."""
_SLACK = 0.01
"""By how much floats may leave the range of colours, 0 to 1: rounding and resampling do that."""


@dataclass(frozen=True)
class ImageFacts:
    """What checks want to know of an image that decodes to its end."""

    size: Size
    """As it is stored."""
    orientation: int
    """EXIF orientation, 1 to 8; 1: stored as it is seen."""


@contextmanager
def _opened(path: Path, what: str) -> Iterator[Image.Image]:
    """An open image file whose every fault is an InputError that names it."""
    if not path.exists():
        raise InputError(f"{what} {path} does not exist, but the scene's cameras name it.")
    try:
        with Image.open(path) as image:
            yield image
    except InputError:
        raise
    except Image.DecompressionBombError:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0) // 1_000_000
        raise InputError(
            f"{what} {path} says that it has more than {limit} million pixels, which may be a decompression bomb and "
            "is not read. Scale it down or crop it."
        ) from None
    except Exception as error:  # decoders raise many kinds for damaged files
        raise InputError(f"{what} {path} cannot be read ({error}). Copy or render it again.") from None


def check_image(path: Path) -> ImageFacts:
    """Decodes an image to its end. Raises InputError where it is not there, does not decode, or where it is not clear
    what its numbers stand for."""
    with _opened(path, "image") as image:
        image.load()
        if image.mode in ("I", "F"):
            _colors(image, path)
        return ImageFacts(image.size, _orientation(image))


def look_at_image(path: Path) -> ImageFacts:
    """What the header of an image says. Raises InputError where it is not there or no image."""
    with _opened(path, "image") as image:
        return ImageFacts(image.size, _orientation(image))


def has_transparency(path: Path) -> bool:
    """Whether an image has an alpha channel, or a colour that stands for transparent ones. Raises InputError."""
    with _opened(path, "image") as image:
        return image.has_transparency_data


def stands_sideways(facts: ImageFacts, size: Size) -> bool:
    """Whether a photo is stored sideways, by its EXIF orientation, and has a size only where it is turned upright."""
    return facts.orientation in _SIDEWAYS and facts.size != size and facts.size[::-1] == size


def read_image(path: Path, size: Size | None = None) -> Image.Image:
    """An image in the mode RGB, or RGBA with straight alpha if anything in it may be transparent.

    Colours are those that an image program shows: of palettes and CMYK the colours they stand for, of 16 bits the high
    byte, of floats 0 to 1 the range from black to white. A colour that the file declares transparent has alpha 0.
    Colours of another profile than sRGB, as phones write them, become those of sRGB.

    Args:
        path: of the image.
        size: that its camera has. A photo that is stored sideways is turned upright by its EXIF orientation if that is
            what gives it this size; otherwise photos are read as they are stored, as COLMAP reads them.

    Raises:
        InputError: naming the file and what is wrong with it.
    """
    with _opened(path, "image") as image:
        image.load()
        colors = _in_srgb(_colors(image, path), image, path)
        if size is not None and stands_sideways(ImageFacts(image.size, _orientation(image)), size):
            turn = _upright(_orientation(image))
            colors = colors.transpose(turn)
        return colors


def read_upright(path: Path) -> Image.Image:
    """An image as read_image gives it, turned or mirrored as its EXIF orientation says.

    Raises:
        InputError: naming the file and what is wrong with it.
    """
    with _opened(path, "image") as image:
        image.load()
        colors = _in_srgb(_colors(image, path), image, path)
        orientation = _orientation(image)
    return colors if orientation == 1 else colors.transpose(_upright(orientation))


def size_for_camera(facts: ImageFacts, size: Size) -> Size:
    """The size that read_image gives a photo whose camera has a size."""
    return size if stands_sideways(facts, size) else facts.size


def read_mask(path: Path, size: Size, orientation: int = 1) -> np.ndarray:
    """Which pixels a mask leaves, bool (height, width): those at least half as bright as white, and not transparent.

    The brightness of a colour is its largest channel, times its alpha. White is 255, or the largest number of the
    file's bits; where a mask holds nothing but 0 and 1, white is 1.

    Args:
        path: of the mask.
        size: of the camera.
        orientation: EXIF orientation by which the photo is turned upright; a mask that was drawn on the photo as it is
            stored is turned with it.

    Raises:
        InputError: naming the file: it does not decode, or is so dark that white is not what was meant.
    """
    with _opened(path, "mask") as image:
        image.load()
        brightness = _brightness(image)
        if orientation != 1 and image.size != size and image.size[::-1] == size:
            turned = Image.fromarray(brightness).transpose(_upright(orientation))
            brightness = np.asarray(turned)
    brightest = float(brightness.max(initial=0.0))
    white = next(value for value in (1.0, 255.0, 65535.0, np.inf) if brightest <= value)
    if 0 < brightest < white / 2 or not np.isfinite(white):
        raise InputError(
            f"mask {path} is {brightest:g} at its brightest, where white is {min(white, 65535):g}: no pixel is at "
            "least half as bright, so that it would leave nothing. Save it in black and white."
        )
    return brightness >= white / 2 if brightest > 0 else np.zeros(brightness.shape, dtype=bool)


def _orientation(image: Image.Image) -> int:
    """1 to 8; 1 where there is none, or one that does not exist."""
    orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    return orientation if orientation in range(1, 9) else 1


def _upright(orientation: int) -> Image.Transpose:
    """What turns a photo of an EXIF orientation upright."""
    return {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }[orientation]


def _colors(image: Image.Image, path: Path) -> Image.Image:
    """In the mode RGB or RGBA."""
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        return _high_bytes(image)
    if image.mode == "F":
        return _scaled_floats(image, path)
    if image.mode == "I":
        raise InputError(
            f"image {path} has the mode I (whole numbers of 32 bits), of which it is not clear what is white. Save it "
            "with 8 or 16 bits."
        )
    if image.mode in _PREMULTIPLIED:
        image = image.convert(_PREMULTIPLIED[image.mode])
    return image.convert("RGBA" if image.has_transparency_data else "RGB")


_SRGB = ImageCms.createProfile("sRGB")


def _in_srgb(colors: Image.Image, image: Image.Image, path: Path) -> Image.Image:
    """Colours as the colour profile of the image shows them; without one, or with a damaged one, they are sRGB."""
    written = image.info.get("icc_profile")
    if not written:
        return colors
    try:
        profile: Any = ImageCms.ImageCmsProfile(io.BytesIO(written))
        if "sRGB" in ImageCms.getProfileDescription(profile):
            return colors
        space = profile.profile.xcolor_space.strip()
        sources = {"RGB": lambda: colors.convert("RGB"), "GRAY": lambda: colors.convert("L"), "CMYK": lambda: image}
        if space not in sources or (space == "CMYK") != (image.mode == "CMYK"):
            raise ImageCms.PyCMSError(f"it is of {space} colours, the image of {image.mode}")
        shown = ImageCms.profileToProfile(sources[space](), profile, _SRGB, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError) as error:
        told = f"image {path}: its colour profile is not used ({error}); its colours are read as sRGB."
        warnings.warn(told, stacklevel=2)
        return colors
    assert shown is not None  # as it is not changed in place
    if colors.mode == "RGBA":
        shown.putalpha(colors.getchannel("A"))
    return shown


def _high_bytes(image: Image.Image) -> Image.Image:
    """Grey of 16 bits."""
    values = np.asarray(image).astype(np.int64)
    gray = Image.fromarray((values >> 8).astype(np.uint8)).convert("RGB")
    transparent = image.info.get("transparency")
    if transparent is not None:
        gray.putalpha(Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8)))
    return gray


def _scaled_floats(image: Image.Image, path: Path) -> Image.Image:
    """Grey of floats from 0 to 1."""
    values = np.asarray(image)
    low, high = float(values.min()), float(values.max())
    if not (-_SLACK <= low and high <= 1.0 + _SLACK):  # NaN included
        raise InputError(
            f"image {path} has the mode F (floats), with numbers from {low:g} to {high:g}; floats are read as colours "
            "from 0 to 1. Save it with 8 or 16 bits."
        )
    return Image.fromarray((255.0 * values.clip(0.0, 1.0)).round().astype(np.uint8)).convert("RGB")


def _brightness(image: Image.Image) -> np.ndarray:
    """Largest channel times alpha, float32 (height, width), in the units of the file."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return np.nan_to_num(np.asarray(image).astype(np.float32))
    if image.mode in _PREMULTIPLIED:
        image = image.convert(_PREMULTIPLIED[image.mode])
    channels = np.asarray(image.convert("RGBA")).astype(np.float32)
    opaque = channels[..., 3] / 255.0
    return channels[..., :3].max(axis=-1) * opaque
