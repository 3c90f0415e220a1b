"""eugen-photos: poses and lens of photos whose truth is known, and what it says where there are none."""

import json
import os
import sys

import numpy as np
import pytest
from nerfstudio.data.dataparsers.nerfstudio_dataparser import NerfstudioDataParserConfig
from support.captures import read
from support.corner_photos import FOCAL, corner_photo, corner_poses, write_corner_photos
from support.similarity import similarity_errors

from eugen_fields.data.checks import check_scene
from eugen_fields.data.photos import solving
from eugen_fields.data.photos.command import PhotoOptions, main, place_photos
from eugen_fields.errors import InputError

COUNT, WIDTH, HEIGHT = 5, 200, 150
STRANGER = 4
"""Number of the photo that shows another place."""


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Five photos of one corner, and between them one of another."""
    folder = write_corner_photos(tmp_path_factory.mktemp("corner") / "photos", corner_poses(COUNT + 1), WIDTH, HEIGHT)
    corner_photo(corner_poses(COUNT + 1)[STRANGER - 1], WIDTH, HEIGHT, seed=1).save(folder / f"IMG_{STRANGER}.jpg")
    return folder


@pytest.fixture(scope="module")
def placed(photos):
    """What is written, and what is said of it."""
    output = photos.parent / "capture"
    return output, place_photos(PhotoOptions(photos, output, threads=1), progress=False)


def test_poses_are_those_of_the_truth(placed):
    output, lines = placed
    content = json.loads((output / "transforms.json").read_text())
    names = [frame["file_path"] for frame in content["frames"]]
    numbers = [number for number in range(1, COUNT + 2) if number != STRANGER]
    assert names == [f"images/IMG_{number}.jpg" for number in numbers]
    poses = np.array([frame["transform_matrix"] for frame in content["frames"]])
    truth = corner_poses(COUNT + 1)[[number - 1 for number in numbers]]
    assert similarity_errors(poses[:, :3, 3], truth[:, :3, 3]).max() < 0.02
    assert content["fl_x"] == pytest.approx(FOCAL * WIDTH, rel=0.03) == content["fl_y"]
    assert (content["w"], content["h"], content["camera_model"]) == (WIDTH, HEIGHT, "OPENCV")
    assert lines["photos"] == f"{COUNT} of {COUNT + 1} got a pose"
    assert f"IMG_{STRANGER}.jpg" in lines["left out"]


def test_the_world_stands_upright_around_what_the_cameras_look_at(placed):
    """Of the truth z is up, and all cameras look at the origin."""
    frames = json.loads((placed[0] / "transforms.json").read_text())["frames"]
    poses = np.array([frame["transform_matrix"] for frame in frames])
    assert np.abs(poses[:, 2, 0]).max() < 0.02 and (poses[:, 2, 1] > 0.5).all()
    assert np.abs(poses[:, :3, 3]).max() == pytest.approx(1.0)
    towards = -poses[:, :3, 3] / np.linalg.norm(poses[:, :3, 3], axis=1, keepdims=True)
    assert np.einsum("ni,ni->n", towards, -poses[:, :3, 2]).min() > 0.999


def test_nerfstudio_reads_what_is_written(placed):
    output, _ = placed
    assert sorted(os.listdir(output)) == ["images", "photos.json", "sparse_pc.ply", "transforms.json"]
    config = NerfstudioDataParserConfig(data=output, load_3D_points=True)
    check_scene(config, output)
    outputs = read(config)
    points = outputs.metadata["points3D_xyz"]
    assert len(outputs.image_filenames) == COUNT  # too few to leave some out
    assert len(points) > 100 and len(outputs.metadata["points3D_rgb"]) == len(points)
    note = json.loads((output / "photos.json").read_text())
    assert note["placed"] == COUNT and note["points"] == len(points) and note["left_out"] == [f"IMG_{STRANGER}.jpg"]


def test_a_second_call_replaces_what_the_first_wrote_and_gives_the_same(placed, photos):
    output, _ = placed
    first = (output / "transforms.json").read_text()
    (output / "images_2").mkdir()  # as data parsers make smaller copies
    place_photos(PhotoOptions(photos, output, threads=1), progress=False)
    assert (output / "transforms.json").read_text() == first and not (output / "images_2").exists()
    assert sorted(path.name for path in output.parent.iterdir()) == ["capture", "photos"]


def test_photos_without_anything_in_common_say_what_would_help(tmp_path, photos):
    output = tmp_path / "out"
    (tmp_path / "photos").mkdir()
    for seed, pose in enumerate(corner_poses(3)):
        corner_photo(pose, 80, 60, seed=seed).save(tmp_path / "photos" / f"{seed}.jpg")
    with pytest.raises(InputError, match=r"none of the 3 photos: 0 of 3 pairs .* What helps: 30 to 100 photos"):
        place_photos(PhotoOptions(tmp_path / "photos", output, threads=1), progress=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos"]


def test_fewer_than_three_photos_are_refused(tmp_path, photos):
    for name in ("IMG_1.jpg", "IMG_2.jpg"):
        (tmp_path / name).write_bytes((photos / name).read_bytes())
    with pytest.raises(InputError, match="has 2 photos; at least three"):
        place_photos(PhotoOptions(tmp_path, tmp_path.parent / "two"))
    (tmp_path / "IMG_3.jpg").write_bytes(b"no photo")
    with pytest.raises(InputError, match=r"2 of 3 photos can be read.*IMG_3\.jpg"):
        place_photos(PhotoOptions(tmp_path, tmp_path.parent / "two"), progress=False)
    assert not (tmp_path.parent / "two").exists()


def test_a_folder_that_holds_something_else_is_left_alone(photos, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match=r"thesis\.txt, which eugen-photos did not write"):
        place_photos(PhotoOptions(photos, tmp_path / "out"))
    assert (tmp_path / "out" / "thesis.txt").read_text() == "years of work"
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "transforms.json").write_text("{}")
    with pytest.raises(InputError, match=r"transforms\.json but no photos\.json"):
        place_photos(PhotoOptions(photos, tmp_path / "other"))
    (tmp_path / "file").touch()
    for output, words in ((tmp_path / "file", "is a file"), (photos, "would replace the photos")):
        with pytest.raises(InputError, match=words):
            place_photos(PhotoOptions(photos, output))


def test_without_pycolmap_it_says_how_to_get_it(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(solving.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install pycolmap"):
        place_photos(PhotoOptions(photos, tmp_path / "out"))


def test_a_colmap_that_breaks_is_reported_with_what_it_said(photos, tmp_path, monkeypatch):
    broken = tmp_path / "broken.py"
    broken.write_text("import sys\nprint('[')\nsys.exit('out of luck')\n")
    monkeypatch.setattr(solving, "_PROGRAM", broken)
    monkeypatch.setattr(solving, "check_pycolmap", lambda: None)
    with pytest.raises(InputError, match="status 1. It said: out of luck"):
        place_photos(PhotoOptions(photos, tmp_path / "out"), progress=False)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"longest_side": 10}, "--longest-side is 10"),
        ({"threads": 0}, "--threads is 0"),
        ({"seed": -1}, "--seed is -1"),
    ],
)
def test_options_out_of_range_are_named(photos, tmp_path, options, words):
    with pytest.raises(InputError, match=words):
        place_photos(PhotoOptions(photos, tmp_path / "out", **options))


def test_the_command_ends_on_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["eugen-photos", str(tmp_path / "none"), "--output", str(tmp_path / "out")])
    with pytest.raises(SystemExit, match="error: .*none does not exist"):
        main()
