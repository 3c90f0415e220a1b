"""Photos as phones write them: which files are photos, which way up, how large, and of what focal length."""

import sys

import numpy as np
import pillow_heif
import pytest
from PIL import ExifTags, Image

from eugen_fields.data.photos.pairs import photo_pairs
from eugen_fields.data.photos.reading import copy_names, copy_photos, find_photos
from eugen_fields.errors import InputError


@pytest.fixture
def folders(tmp_path):
    made = [tmp_path / name for name in ("photos", "images", "pictures")]
    for folder in made:
        folder.mkdir()
    return made


def arrow(width=80, height=60):
    """A picture that differs from all its turns and mirror images: smooth, since JPEG is to keep it."""
    y, x = np.mgrid[0:height, 0:width] / max(width, height)
    return Image.fromarray((255 * np.stack([x, y, x * y], axis=-1)).astype(np.uint8))


def exif(orientation=1, film=None):
    tags = Image.Exif()
    tags[ExifTags.Base.Orientation] = orientation
    if film is not None:
        tags.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.FocalLengthIn35mmFilm] = film
    return tags


STORED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""How a picture is stored that an EXIF orientation makes upright again."""


@pytest.mark.parametrize("orientation", range(1, 9))
def test_copies_stand_upright(folders, orientation):
    photos, images, pictures = folders
    stored = arrow() if orientation == 1 else arrow().transpose(STORED[orientation])
    stored.save(photos / "a.jpg", quality=95, subsampling=0, exif=exif(orientation))
    (photo,), faults = copy_photos([photos / "a.jpg"], images, pictures, None, False)
    copy = Image.open(images / photo.name)
    assert not faults and copy.size == photo.size == (80, 60)
    assert copy.getexif().get(ExifTags.Base.Orientation, 1) == 1
    assert np.abs(np.asarray(copy).astype(float) - np.asarray(arrow())).max() < 12


def test_a_photo_that_is_small_and_upright_is_copied_as_it_is(folders):
    photos, images, pictures = folders
    arrow().save(photos / "a.jpg", quality=60)
    copy_photos([photos / "a.jpg"], images, pictures, 100, False)
    assert (images / "a.jpg").read_bytes() == (photos / "a.jpg").read_bytes()
    (photo,), _ = copy_photos([photos / "a.jpg"], images, pictures, 40, False)
    assert photo.size == Image.open(images / "a.jpg").size == (40, 30)


@pytest.mark.parametrize(("size", "picture"), [((224, 168), (448, 336)), ((900, 700), (900, 700))])
def test_features_are_looked_for_in_pictures_that_are_large_enough(folders, size, picture):
    photos, images, pictures = folders
    arrow(*size).save(photos / "my photo.jpg")
    (photo,), _ = copy_photos([photos / "my photo.jpg"], images, pictures, None, False)
    assert photo.picture_size == Image.open(pictures / photo.picture_name).size == picture
    assert " " not in photo.picture_name


def test_names_with_blanks_have_pictures_of_their_own(folders):
    photos, images, pictures = folders
    paths = [photos / name for name in ("scan 1 2.jpg", "scan 12.jpg", "#1.jpg")]
    for path in paths:
        arrow().save(path)
    copied, _ = copy_photos(paths, images, pictures, None, False)
    assert len({photo.picture_name for photo in copied}) == 3 == len(list(pictures.iterdir()))
    assert all(photo.picture_name[:-4].isdecimal() for photo in copied)


@pytest.mark.parametrize("ending", ["jpg", "tif"])
@pytest.mark.parametrize(("film", "focal"), [(None, None), (0, None), (43, 43 / 43.267 * 100)])
def test_focal_lengths_are_those_of_exif(folders, film, focal, ending):
    photos, images, pictures = folders
    arrow().save(photos / f"a.{ending}", exif=exif(6, film).tobytes())
    (photo,), _ = copy_photos([photos / f"a.{ending}"], images, pictures, None, False)
    assert photo.focal == (None if focal is None else pytest.approx(focal, rel=1e-4))


def test_heif_of_phones_is_read(folders):
    photos, images, pictures = folders
    pillow_heif.register_heif_opener()
    arrow().save(photos / "a.HEIC", quality=95)
    (photo,), faults = copy_photos([photos / "a.HEIC"], images, pictures, None, False)
    assert not faults and photo.name == "a.jpg"
    assert np.abs(np.asarray(Image.open(images / "a.jpg")).astype(float) - np.asarray(arrow())).mean() < 6


def test_heif_without_its_package_says_what_would_do(folders, monkeypatch):
    photos, images, pictures = folders
    (photos / "a.heic").write_bytes(b"....ftypheic")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    copied, (fault,) = copy_photos([photos / "a.heic"], images, pictures, None, False)
    assert not copied and "pip install pillow-heif" in fault.message


def test_a_damaged_photo_is_named_and_the_others_are_read(folders):
    photos, images, pictures = folders
    arrow().save(photos / "a.jpg")
    (photos / "b.jpg").write_bytes((photos / "a.jpg").read_bytes()[:400])
    copied, (fault,) = copy_photos([photos / "a.jpg", photos / "b.jpg"], images, pictures, None, False)
    assert [photo.name for photo in copied] == ["a.jpg"] and "b.jpg" in fault.message


def test_photos_are_in_the_order_in_which_they_were_taken(tmp_path):
    for name in ("IMG_10.jpg", "IMG_9.JPG", "img_2.png", ".hidden.jpg", "notes.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in find_photos(tmp_path)] == ["img_2.png", "IMG_9.JPG", "IMG_10.jpg"]


def test_photos_of_one_stem_get_names_of_their_own(tmp_path):
    names = copy_names([tmp_path / name for name in ("IMG_1.HEIC", "IMG_1.JPG", "IMG_2.JPG", "IMG_3.png")])
    assert names == ["IMG_1_HEIC.jpg", "IMG_1_JPG.jpg", "IMG_2.jpg", "IMG_3.png"]
    names = copy_names([tmp_path / name for name in ("IMG_1.HEIC", "IMG_1.JPG", "IMG_1_JPG.jpg")])
    assert names == ["IMG_1_HEIC.jpg", "IMG_1_JPG.jpg", "IMG_1_JPG_2.jpg"]


@pytest.mark.parametrize(
    ("files", "given", "words"),
    [
        ((), "none", "does not exist"),
        (("a.mp4",), "a.mp4", r"is a video.*ffmpeg"),
        (("a.txt",), "a.txt", "is a file"),
        (("a.txt",), ".", r"has no photos, but 1 other files.*\.jpg"),
        (("a.mov",), ".", r"a\.mov is a video"),
        (("inner/a.jpg",), ".", r"inner; give that folder"),
    ],
)
def test_what_is_no_folder_of_photos_says_what_would_do(tmp_path, files, given, words):
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(InputError, match=words):
        find_photos(tmp_path / given)


@pytest.mark.parametrize("count", [2, 3, 100])
def test_few_photos_are_all_compared(count):
    assert len(set(photo_pairs(count))) == count * (count - 1) // 2


@pytest.mark.parametrize("count", [101, 400, 1000])
def test_many_photos_are_compared_with_neighbours_and_across(count):
    pairs = photo_pairs(count)
    assert len(set(pairs)) == len(pairs) and all(0 <= first < second < count for first, second in pairs)
    assert set(photo_pairs(count, exhaustive=count)) >= set(pairs)
    known = set(pairs)
    assert all((index, index + step) in known for index in range(0, count - 10, 7) for step in (1, 5, 10))
    assert (0, 8 * ((count - 1) // 8)) in pairs  # the walk is closed
    assert len(pairs) < min(count * (count - 1) // 2, 30 * count)
