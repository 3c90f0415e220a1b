"""Images of every mode have the colours that an image program shows, masks are read as black and white, and files that
cannot be read are named."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from eugen_fields.data.images import check_image, has_transparency, read_image, read_mask
from eugen_fields.errors import InputError

SIZE = (20, 14)


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    """A smooth picture of many colours."""
    column, row = np.meshgrid(np.linspace(0, 1, SIZE[0]), np.linspace(0, 1, SIZE[1]))
    colors = np.stack([column, row, 1.0 - column * row], axis=-1)
    return Image.fromarray((20 + 215 * colors).round().astype(np.uint8))


def gray_of(photo: Image.Image) -> np.ndarray:
    return np.asarray(photo.convert("L"))


def read_array(path: Path) -> np.ndarray:
    return np.asarray(read_image(path)).astype(int)


def with_alpha(photo: Image.Image) -> Image.Image:
    image = photo.convert("RGBA")
    image.putalpha(Image.fromarray(np.tile(np.linspace(0, 255, SIZE[0]).astype(np.uint8), (SIZE[1], 1))))
    return image


@pytest.mark.parametrize("ending", [".png", ".bmp", ".tif", ".webp", ".ppm"])
def test_plain_colors_are_read_exactly(ending: str, photo: Image.Image, tmp_path: Path) -> None:
    path = tmp_path / f"x{ending}"
    photo.save(path, **({"lossless": True} if ending == ".webp" else {}))
    assert np.array_equal(read_array(path), np.asarray(photo))


@pytest.mark.parametrize("ending", [".png", ".gif", ".tif", ".bmp"])
def test_palettes_give_the_colors_they_stand_for(ending: str, photo: Image.Image, tmp_path: Path) -> None:
    path = tmp_path / f"x{ending}"
    photo.quantize(255).save(path)
    assert read_array(path).shape == (*SIZE[::-1], 3)
    assert np.abs(read_array(path) - np.asarray(photo)).max() <= 16


def test_a_palette_with_alpha_is_rgba(photo: Image.Image, tmp_path: Path) -> None:
    palette = photo.quantize(16)
    palette.save(tmp_path / "one.png", transparency=3)
    image = read_array(tmp_path / "one.png")
    assert np.array_equal(image[..., 3] == 0, np.asarray(palette) == 3)
    palette.save(tmp_path / "many.png", transparency=bytes(range(0, 256, 16)))
    assert np.array_equal(read_array(tmp_path / "many.png")[..., 3], 16 * np.asarray(palette))


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_color_that_is_declared_transparent_has_alpha_0(mode: str, photo: Image.Image, tmp_path: Path) -> None:
    image = photo.convert(mode)
    key = image.getpixel((3, 5))
    image.save(tmp_path / "x.png", transparency=key)
    assert has_transparency(tmp_path / "x.png")
    same = (np.asarray(image).reshape(*SIZE[::-1], -1) == np.array(key)).all(axis=-1)
    assert np.array_equal(read_array(tmp_path / "x.png")[..., 3] == 0, same) and same.any()


def test_gray_with_alpha(photo: Image.Image, tmp_path: Path) -> None:
    with_alpha(photo).convert("LA").save(tmp_path / "x.png")
    image = read_array(tmp_path / "x.png")
    assert np.array_equal(image[..., 0], gray_of(photo)) and np.array_equal(image[..., 2], gray_of(photo))
    assert np.array_equal(image[..., 3], np.asarray(with_alpha(photo))[..., 3])


def test_bilevel_is_black_and_white(photo: Image.Image, tmp_path: Path) -> None:
    bilevel = photo.convert("1")
    bilevel.save(tmp_path / "x.png")
    assert set(np.unique(read_array(tmp_path / "x.png"))) == {0, 255}
    assert abs(read_array(tmp_path / "x.png").mean() - gray_of(photo).mean()) < 8


@pytest.mark.parametrize("ending", [".png", ".tif", ".pgm"])
def test_gray_of_16_bits_is_its_high_byte(ending: str, photo: Image.Image, tmp_path: Path) -> None:
    path = tmp_path / f"x{ending}"
    Image.fromarray(gray_of(photo).astype(np.uint16) * 256 + 201).save(path)
    assert np.array_equal(read_array(path), np.repeat(gray_of(photo)[..., None], 3, axis=2))


def test_colors_of_16_bits_are_their_high_bytes(photo: Image.Image, tmp_path: Path) -> None:
    import cv2

    deep = np.asarray(photo)[..., ::-1].astype(np.uint16) * 256 + 90
    assert cv2.imwrite(str(tmp_path / "x.png"), deep)
    assert np.array_equal(read_array(tmp_path / "x.png"), np.asarray(photo))


def test_floats_go_from_0_to_1(photo: Image.Image, tmp_path: Path) -> None:
    Image.fromarray(gray_of(photo).astype(np.float32) / 255).save(tmp_path / "x.tif")
    assert np.array_equal(read_array(tmp_path / "x.tif")[..., 1], gray_of(photo))


def test_cmyk_gives_the_colors_it_stands_for(photo: Image.Image, tmp_path: Path) -> None:
    photo.convert("CMYK").save(tmp_path / "x.jpg", quality=95, subsampling=0)
    photo.convert("CMYK").save(tmp_path / "x.tif")
    assert np.abs(read_array(tmp_path / "x.jpg") - np.asarray(photo)).mean() < 3
    assert np.abs(read_array(tmp_path / "x.tif") - np.asarray(photo)).max() <= 1


def rgb_profile(gamma: float) -> bytes:
    """A colour profile with sRGB's primaries and white (D50, as profiles have them) and a power as its tone curve."""

    def fixed(*values: float) -> bytes:
        return b"".join(struct.pack(">i", round(value * 65536)) for value in values)

    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2)
    tags = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", 6) + b"power\0" + bytes(78),
        b"wtpt": b"XYZ " + bytes(4) + fixed(0.9642, 1.0, 0.8249),
        b"rXYZ": b"XYZ " + bytes(4) + fixed(0.43607, 0.22249, 0.01392),
        b"gXYZ": b"XYZ " + bytes(4) + fixed(0.38515, 0.71687, 0.09708),
        b"bXYZ": b"XYZ " + bytes(4) + fixed(0.14307, 0.06061, 0.71410),
        **{channel + b"TRC": curve for channel in (b"r", b"g", b"b")},
    }
    table, body, start = b"", b"", 128 + 4 + 12 * len(tags)
    for name, value in tags.items():
        value += bytes(-len(value) % 4)
        table += name + struct.pack(">II", start + len(body), len(value))
        body += value
    header = struct.pack(">I4sI4s4s4s", start + len(body), b"lcms", 0x02100000, b"mntr", b"RGB ", b"XYZ ")
    header += bytes(12) + b"acsp" + bytes(28) + fixed(0.9642, 1.0, 0.8249)
    return header + bytes(128 - len(header)) + struct.pack(">I", len(tags)) + table + body


@pytest.mark.parametrize("ending, mode", [(".png", "RGB"), (".png", "RGBA"), (".tif", "RGB"), (".png", "P")])
def test_colors_of_another_profile_become_those_of_srgb(
    ending: str, mode: str, photo: Image.Image, tmp_path: Path
) -> None:
    path = tmp_path / f"image{ending}"
    stored = photo.convert(mode)
    if mode == "RGBA":
        stored.putalpha(77)
    stored.save(path, icc_profile=rgb_profile(1.0))
    linear = np.asarray(stored.convert("RGB")) / 255.0
    shown = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    image = read_image(path)
    assert image.mode == ("RGBA" if mode == "RGBA" else "RGB")
    assert np.abs(np.asarray(image)[..., :3] - 255.0 * shown).max() < 2.5
    assert np.abs(np.asarray(stored.convert("RGB")) - 255.0 * shown).max() > 20
    if mode == "RGBA":
        assert (np.asarray(image)[..., 3] == 77).all()


@pytest.mark.parametrize("profile", [b"no profile", rgb_profile(1.0)[:200], b"\0" * 200])
def test_a_damaged_profile_is_named_and_colors_are_srgb(profile: bytes, photo: Image.Image, tmp_path: Path) -> None:
    photo.save(tmp_path / "image.png", icc_profile=profile)
    with pytest.warns(UserWarning, match="image.png: its colour profile is not used .*; its colours are read as sRGB"):
        image = read_image(tmp_path / "image.png")
    assert np.array_equal(np.asarray(image), np.asarray(photo))


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_a_profile_of_other_colors_than_the_image_has(mode: str, photo: Image.Image, tmp_path: Path) -> None:
    photo.convert(mode).save(tmp_path / "image.tif", icc_profile=rgb_profile(1.0))
    if mode == "CMYK":
        with pytest.warns(UserWarning, match="it is of RGB colours, the image of CMYK"):
            read_image(tmp_path / "image.tif")
    else:
        image = read_image(tmp_path / "image.tif")
        assert (np.asarray(image).astype(int) >= np.asarray(photo.convert("L"))[..., None].astype(int) - 1).all()


def test_srgb_that_is_named_changes_nothing(photo: Image.Image, tmp_path: Path) -> None:
    photo.save(tmp_path / "image.png", icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    assert np.array_equal(np.asarray(read_image(tmp_path / "image.png")), np.asarray(photo))


@pytest.mark.parametrize("values", [(0.0, 180.0), (float("nan"), 1.0), (-3.0, 1.0)])
def test_floats_that_are_no_colors_are_refused_with_their_mode(values: tuple[float, float], tmp_path: Path) -> None:
    Image.fromarray(np.array([values], dtype=np.float32)).save(tmp_path / "x.tif")
    for read in (read_image, check_image):
        with pytest.raises(InputError, match=r"x\.tif has the mode F \(floats\)"):
            read(tmp_path / "x.tif")


def test_whole_numbers_of_32_bits_are_refused_with_their_mode(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 1 << 20]], dtype=np.int32)).save(tmp_path / "x.tif")
    with pytest.raises(InputError, match="has the mode I "):
        check_image(tmp_path / "x.tif")


def bomb(width: int, height: int) -> bytes:
    """A PNG whose header promises far more pixels than are there."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (bomb(60_000, 60_000), "decompression bomb"),
        (b"no image", "cannot be read"),
        (b"", "cannot be read"),
        (bomb(4000, 4000), "cannot be read"),
    ],
)
def test_files_that_are_no_images_are_named(content: bytes, says: str, tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"image {path} .*{says}"):
        check_image(path)
    with pytest.raises(InputError, match=f"mask {path} .*{says}"):
        read_mask(path, SIZE)


@pytest.mark.parametrize("cut", [30, 200])
def test_truncated_images_are_named(cut: int, photo: Image.Image, tmp_path: Path) -> None:
    stream = io.BytesIO()
    photo.save(stream, "PNG")
    (tmp_path / "x.png").write_bytes(stream.getvalue()[:-cut])
    with pytest.raises(InputError, match="Copy or render it again"):
        check_image(tmp_path / "x.png")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photos_stand_as_their_cameras_say(orientation: int, photo: Image.Image, tmp_path: Path) -> None:
    """A camera of the stored size gets the photo as it is stored, one of the upright size gets it upright."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    photo.save(tmp_path / "x.png", exif=exif)
    upright = ImageOps.exif_transpose(Image.open(tmp_path / "x.png"))
    assert np.array_equal(np.asarray(read_image(tmp_path / "x.png", SIZE)), np.asarray(photo))
    if upright.size != SIZE:
        assert np.array_equal(np.asarray(read_image(tmp_path / "x.png", upright.size)), np.asarray(upright))


LEFT = np.zeros(SIZE[::-1], dtype=bool)
LEFT[:, :7] = True


def save_mask(path: Path, kind: str) -> None:
    """LEFT, as different programs would write it."""
    gray = Image.fromarray(np.where(LEFT, 255, 0).astype(np.uint8))
    if kind == "palette with black first":
        palette = gray.point(lambda value: value // 255).convert("P")
        palette.putpalette([0, 0, 0, 255, 255, 255])
        palette.save(path)
    elif kind == "palette with white first":
        palette = gray.point(lambda value: 1 - value // 255).convert("P")
        palette.putpalette([255, 255, 255, 0, 0, 0])
        palette.save(path)
    elif kind == "palette of classes":
        palette = gray.point(lambda value: value // 255).convert("P")
        palette.putpalette([0, 0, 0, 128, 0, 0])
        palette.save(path)
    elif kind == "0 and 1":
        gray.point(lambda value: value // 255).save(path)
    elif kind == "cut out":
        white = Image.new("RGBA", gray.size, "white")
        white.putalpha(gray)
        white.save(path)
    elif kind == "16 bits":
        Image.fromarray(np.where(LEFT, 65535, 0).astype(np.uint16)).save(path)
    elif kind == "0 and 255 in 16 bits":
        Image.fromarray(np.where(LEFT, 255, 0).astype(np.uint16)).save(path)
    elif kind == "soft":
        Image.fromarray(np.where(LEFT, 140, 115).astype(np.uint8) + np.eye(*SIZE[::-1], dtype=np.uint8)).save(path)
    else:
        gray.convert(kind).save(path)


@pytest.mark.parametrize(
    "kind",
    [
        "L", "1", "RGB", "RGBA", "LA", "palette with black first", "palette with white first", "palette of classes",
        "0 and 1", "cut out", "16 bits", "0 and 255 in 16 bits", "soft",
    ],
)  # fmt: skip
def test_masks_are_black_and_white_in_every_mode(kind: str, tmp_path: Path) -> None:
    save_mask(tmp_path / "m.png", kind)
    assert np.array_equal(read_mask(tmp_path / "m.png", SIZE), LEFT)


def test_noise_of_a_jpeg_is_not_white(tmp_path: Path) -> None:
    Image.fromarray(np.where(LEFT, 255, 0).astype(np.uint8)).save(tmp_path / "m.jpg", quality=60)
    noisy = np.asarray(Image.open(tmp_path / "m.jpg"))
    assert ((noisy > 0) & ~LEFT).any(), "the case that is tested"
    assert np.array_equal(read_mask(tmp_path / "m.jpg", SIZE), LEFT)


def test_black_masks_leave_nothing_and_dark_ones_are_refused(tmp_path: Path) -> None:
    Image.new("L", SIZE).save(tmp_path / "black.png")
    assert not read_mask(tmp_path / "black.png", SIZE).any()
    Image.fromarray(np.where(LEFT, 5, 0).astype(np.uint8)).save(tmp_path / "dark.png")
    with pytest.raises(InputError, match=r"dark\.png is 5 at its brightest, where white is 255"):
        read_mask(tmp_path / "dark.png", SIZE)


def test_a_mask_of_a_photo_that_is_stored_sideways_is_turned_with_it(tmp_path: Path) -> None:
    Image.fromarray(np.where(LEFT, 255, 0).astype(np.uint8)).save(tmp_path / "m.png")
    turned = np.rot90(LEFT, -1)
    assert np.array_equal(read_mask(tmp_path / "m.png", SIZE[::-1], orientation=6), turned)
    assert np.array_equal(read_mask(tmp_path / "m.png", SIZE, orientation=6), LEFT)
