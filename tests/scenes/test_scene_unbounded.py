"""render.py --unbounded: roaming cameras, refusals, and what Mitsuba renders where the lens says it is."""

import importlib.util
import json

import numpy as np
import pytest
from PIL import Image

needs_mitsuba = pytest.mark.skipif(
    importlib.util.find_spec("mitsuba") is None, reason="Mitsuba is not installed: pip install -e '.[scenes]'"
)
MIDDLE = np.array([0.0, 0.0, 0.9])


@pytest.fixture
def cameras(load):
    return load("capture.cameras")


def test_roaming_cameras_are_rigid_level_and_above_ground(cameras):
    poses = cameras.roaming(80, np.random.default_rng(0), MIDDLE)
    rotations = poses[:, :3, :3]
    assert np.allclose(rotations.transpose(0, 2, 1) @ rotations, np.eye(3)) and np.allclose(np.linalg.det(rotations), 1)
    assert np.allclose(poses[:, 2, 0], 0) and (poses[:, 2, 1] > 0).all() and (poses[:, 3] == [0, 0, 0, 1]).all()
    assert (poses[:, 2, 3] > MIDDLE[2]).all()


def test_roaming_cameras_look_near_the_middle_from_near_and_far(cameras):
    poses = cameras.roaming(80, np.random.default_rng(0), MIDDLE)
    distances = np.linalg.norm(poses[:, :3, 3] - MIDDLE, axis=1)
    low, high = cameras.ROAMING_RADII
    assert low <= distances.min() < low + 0.2 and high - 0.2 < distances.max() <= high
    aim = np.linalg.norm(np.cross(poses[:, :3, 2], MIDDLE - poses[:, :3, 3]), axis=1)
    assert 0.1 < aim.max() < 0.3 * np.sqrt(3)


@pytest.mark.parametrize("count", [8, 24, 60])
def test_roaming_cameras_leave_no_side_out(cameras, count):
    positions = cameras.roaming(count, np.random.default_rng(1), MIDDLE)[:, :3, 3]
    azimuths = np.sort(np.arctan2(positions[:, 1], positions[:, 0]))
    gaps = np.diff(np.append(azimuths, azimuths[0] + 2 * np.pi))
    assert gaps.max() < 4 * 2 * np.pi / count
    assert cameras.roaming(0, np.random.default_rng(0), MIDDLE).shape == (0, 4, 4)


def test_splits_are_seeded_and_differ(load):
    render = load("render")
    first, again, other = (render.poses(render.Settings(unbounded=True, seed=seed), 0.9) for seed in (0, 0, 1))
    assert {split: len(views) for split, views in first.items()} == {"train": 100, "val": 4, "test": 20}
    assert (first["test"] == again["test"]).all() and not np.allclose(first["test"], other["test"])
    assert not np.allclose(first["train"][:4], first["val"]) and not np.allclose(first["val"], first["test"][:4])


def test_errors_say_what_would_do(fails, catalogues, tmp_path):
    here = ("threeBoxes", "--catalogues", catalogues, "-o", tmp_path / "out", "--unbounded")
    assert "--size 90: with --unbounded" in fails("render.py", *here, "--size", "90")
    assert "40x30 can be halved into whole pixels 1 times" in fails("render.py", *here, "--size", "40", "--scales", "3")
    assert "no.exr is not a file" in fails("render.py", *here, "--hdri", "no.exr")
    assert not (tmp_path / "out").exists()


def test_a_folder_of_the_other_kind_is_refused(load, catalogues, tmp_path):
    render, scene_error = load("render"), load("console").SceneError
    model = load("shapes.catalogue").find_models(catalogues)[0]
    render.claim(tmp_path, render.Settings(), model)
    with pytest.raises(scene_error, match="unbounded was False, now True"):
        render.claim(tmp_path, render.Settings(unbounded=True), model)
    note = json.loads((tmp_path / "render.json").read_text())
    del note["unbounded"]  # as written before there was the option
    (tmp_path / "render.json").write_text(json.dumps(note))
    render.claim(tmp_path, render.Settings(), model)
    (tmp_path / "render.json").unlink()
    (tmp_path / "transforms.json").write_text("{}")
    with pytest.raises(scene_error, match="did not make"):
        render.claim(tmp_path, render.Settings(unbounded=True), model)


@needs_mitsuba
def test_ground_points_are_rendered_where_opencv_projects_them(load, catalogues, monkeypatch):
    """Red, green and blue spots on a dark ground, each less than a fifth of a pixel from where it should be."""
    cv2 = pytest.importorskip("cv2")
    pathtracer, render = load("pathtracer"), load("render")
    spots = np.array([[1.5, 1.2, 0.0], [-1.3, 1.6, 0.0], [1.6, -1.3, 0.0]])

    def spotted(x, y, texel):
        away = np.stack([np.hypot(x - spot[0], y - spot[1]) for spot in spots], axis=-1)
        return 0.01 + 0.9 * np.exp(-((away / 0.06) ** 2))

    monkeypatch.setattr(load("outdoors.ground"), "reflectance", spotted)
    mitsuba = pathtracer.load_mitsuba()
    model = load("shapes.catalogue").find_models(catalogues)[0]
    scene, lift = pathtracer.build_scene(mitsuba, model, None, unbounded=True)
    assert lift > 0
    camera = render.camera(render.Settings(unbounded=True, size=160))
    pose = load("capture.cameras").look_at(np.array([1.2, 1.0, 4.0]), np.array([0.25, 0.2, 0.0]))
    image = pathtracer.photograph(mitsuba, scene, camera, pose, 128, (0,))[..., :3].astype(float)
    to_opencv = np.diag([1, -1, -1, 1]) @ np.linalg.inv(pose)
    intrinsics = np.array([[camera.focal, 0, camera.width / 2], [0, camera.focal, camera.height / 2], [0, 0, 1]])
    lens = np.array([camera.lens.k1, camera.lens.k2, camera.lens.p1, camera.lens.p2])
    turn, _ = cv2.Rodrigues(to_opencv[:3, :3])
    expected, straight = (
        cv2.projectPoints(spots, turn, to_opencv[:3, 3], intrinsics, coefficients)[0][:, 0]
        for coefficients in (lens, np.zeros(4))
    )
    assert np.linalg.norm(expected - straight, axis=1).max() > 1  # the lens matters
    for channel, place in enumerate(expected):
        rows, columns = (slice(int(middle) - 6, int(middle) + 7) for middle in place[::-1])
        window = image[rows, columns]
        weight = np.clip(window[..., channel] - np.delete(window, channel, axis=-1).max(axis=-1), 0, None)
        assert weight.max() > 60
        down, right = np.mgrid[rows, columns] + 0.5
        found = np.array([(weight * right).sum(), (weight * down).sum()]) / weight.sum()
        assert np.abs(found - place).max() < 0.2, (channel, found, place)


@needs_mitsuba
def test_command_renders_resumes_and_adds_scales(command, catalogues, tmp_path):
    options = ("--unbounded", "--size", 32, "--train", 2, "--val", 0, "--test", 1, "--samples", 16)
    arguments = ("render.py", "threeBoxes", "-o", "out", "--catalogues", catalogues, *options, "--test-samples", 16)
    process = command(*arguments)
    assert process.returncode == 0, process.stderr
    out = tmp_path / "out"
    first, second = out / "train/r_0.jpg", out / "train/r_1.jpg"
    kept = first.stat().st_mtime_ns
    second.unlink()
    assert command(*arguments, "--scales", 2).returncode == 0
    assert first.stat().st_mtime_ns == kept and second.exists()
    content = json.loads((out / "transforms.json").read_text())
    assert content["camera_model"] == "OPENCV" and content["k1"] == -0.12 and "w" not in content
    assert len(content["frames"]) == 6 and content["val_filenames"] == ["test/r_0.jpg", "test_2/r_0.jpg"]
    for frame in content["frames"]:
        with Image.open(out / frame["file_path"]) as image:
            assert (image.size, image.mode) == ((frame["w"], frame["h"]), "RGB")
            assert np.asarray(image).std() > 5
    assert not list(out.glob("transforms_*.json")) and not list(out.rglob("*.part"))
