"""render.py --scales and nerfstudio's transforms.json: every resolution is there, listed, and the mean of the first."""

import json

import numpy as np
import pytest
from PIL import Image

COUNTS = {"train": 3, "val": 0, "test": 2}


@pytest.fixture
def rendered(load, catalogues, monkeypatch, tmp_path):
    """rendered(**settings): a scene whose pictures are random instead of path-traced, and its folder."""
    render = load("render")
    generator = np.random.default_rng(0)

    def photograph(mitsuba, scene, camera, pose, samples, seed):
        return generator.integers(0, 256, (camera.height, camera.width, 4), dtype=np.uint8)

    monkeypatch.setattr(render, "load_mitsuba", lambda: None)
    monkeypatch.setattr(render, "build_scene", lambda *arguments: (None, 0.9))
    monkeypatch.setattr(render, "photograph", photograph)
    model = load("shapes.catalogue").find_models(catalogues)[0]

    def make(**settings):
        render.render_scene(render.Settings(**{"size": 32, **COUNTS, **settings}), tmp_path / "out", model)
        return tmp_path / "out"

    return make


def transforms(scene):
    return json.loads((scene / "transforms.json").read_text())


@pytest.mark.parametrize("unbounded", [False, True])
def test_every_view_is_there_in_every_resolution(rendered, unbounded):
    scene = rendered(scales=3, unbounded=unbounded)
    content, suffix = transforms(scene), ".jpg" if unbounded else ".png"
    names = [frame["file_path"] for frame in content["frames"]]
    assert len(set(names)) == len(names) == 3 * 5
    assert {path.relative_to(scene).as_posix() for path in scene.rglob(f"*{suffix}")} == set(names)
    for split, count in COUNTS.items():
        expected = [
            f"{split if factor == 1 else f'{split}_{factor}'}/r_{number}{suffix}"
            for number in range(count)
            for factor in (1, 2, 4)
        ]
        assert content[f"{split}_filenames"] == (expected or content["test_filenames"])
    for frame in content["frames"]:
        with Image.open(scene / frame["file_path"]) as image:
            assert image.size == (frame["w"], frame["h"])
            assert image.mode == ("RGB" if unbounded else "RGBA")


def test_small_images_are_area_means(rendered, load):
    scene = rendered(scales=4)
    full = np.asarray(Image.open(scene / "test/r_1.png"))
    for factor in (2, 4, 8):
        small = np.asarray(Image.open(scene / f"test_{factor}/r_1.png"))
        assert (small == load("downscale").area_mean(full, factor)).all()
        premultiplied, smaller = (image[..., :3] * (image[..., 3:] / 255.0) for image in (full, small))
        blocks = premultiplied.reshape(32 // factor, factor, 32 // factor, factor, 3).mean(axis=(1, 3))
        assert np.abs(blocks - smaller).max() <= 1.01


@pytest.mark.parametrize("unbounded", [False, True])
def test_resolutions_see_the_same(rendered, unbounded):
    """Pose and field of view of a frame do not depend on its resolution, nor does the place of the optical axis."""
    content = transforms(rendered(scales=3, unbounded=unbounded))
    for start in range(0, 15, 3):
        first, *others = content["frames"][start : start + 3]
        for factor, frame in zip((2, 4), others):
            assert frame["transform_matrix"] == first["transform_matrix"]
            for key in ("w", "h", "fl_x", "fl_y", "cx", "cy"):
                assert frame[key] * factor == pytest.approx(first[key])
            assert type(frame["w"]) is type(frame["h"]) is int
    assert content["camera_model"] == ("OPENCV" if unbounded else "PINHOLE") and ("k1" in content) == unbounded


def test_object_scene_keeps_its_own_layout(rendered):
    scene = rendered(scales=2)
    first = transforms(scene)["frames"][0]
    blender = json.loads((scene / "transforms_train.json").read_text())
    assert [frame["file_path"] for frame in blender["frames"]] == [f"./train/r_{number}" for number in range(3)]
    assert blender["frames"][0]["transform_matrix"] == first["transform_matrix"]
    assert first["fl_x"] == pytest.approx(16 / np.tan(blender["camera_angle_x"] / 2))
    assert not (scene / "transforms_val.json").exists()


def test_one_scale_writes_what_it_always_did(rendered):
    scene = rendered()
    assert {path.name for path in scene.iterdir()} == {
        "mesh_ground_truth.npz",
        "render.json",
        "test",
        "train",
        "transforms_test.json",
        "transforms_train.json",
    }


def test_unbounded_scene_of_one_scale_has_its_intrinsics_once(rendered):
    content = transforms(rendered(unbounded=True, val=1, size=64))
    assert (content["w"], content["h"], content["cx"], content["cy"]) == (64, 48, 32, 24)
    assert set(content["frames"][0]) == {"file_path", "transform_matrix"}
    assert content["val_filenames"] == ["val/r_0.jpg"]


@pytest.mark.parametrize("counts", [(2, 0, 0), (2, 1, 0), (2, 0, 1), (2, 1, 1)])
def test_no_split_is_without_files(rendered, counts):
    """nerfstudio's parser refuses a file that lists one split and not another."""
    content = transforms(rendered(unbounded=True, **dict(zip(COUNTS, counts))))
    for split, count in zip(COUNTS, counts):
        names = content[f"{split}_filenames"]
        assert names and all(name.startswith(f"{split}/") for name in names) == (count > 0)


def test_scales_can_be_added_to_a_finished_scene(rendered):
    scene = rendered()
    before = (scene / "train/r_0.png").stat().st_mtime_ns
    rendered(scales=2)
    assert (scene / "train/r_0.png").stat().st_mtime_ns == before
    assert len(transforms(scene)["frames"]) == 10


def test_pixels_that_cannot_be_shared_out_are_refused(fails, catalogues, tmp_path):
    here = ("threeBoxes", "--catalogues", catalogues, "-o", tmp_path / "out")
    message = fails("render.py", *here, "--size", "100", "--scales", "4")
    assert "100x100 can be halved into whole pixels 2 times; give --scales 3 at most" in message
    assert "--scales 0: must be 1 or more" in fails("render.py", *here, "--scales", "0")
    assert "halved" in fails("render.py", *here, "--scales", "1000000000000")
    assert not (tmp_path / "out").exists()


def test_nerfstudio_reads_every_resolution(rendered):
    parsers = pytest.importorskip("nerfstudio.data.dataparsers.nerfstudio_dataparser")
    parser = parsers.NerfstudioDataParserConfig(data=rendered(scales=3)).setup()
    for split, count in {"train": 9, "val": 6, "test": 6}.items():
        outputs = parser.get_dataparser_outputs(split)
        assert len(outputs.image_filenames) == count
        for path, width in zip(outputs.image_filenames, outputs.cameras.width[:, 0].tolist()):
            assert Image.open(path).width == width
