"""render.py and pathtracer.py: what can be known without Mitsuba, then small renders where it is installed."""

import importlib.util
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

needs_mitsuba = pytest.mark.skipif(
    importlib.util.find_spec("mitsuba") is None, reason="Mitsuba is not installed: pip install -e '.[scenes]'"
)
FURNITURE = Path("/usr/share/sweethome3d/furniture")
TINY = ("--size", 16, "--train", 2, "--val", 0, "--test", 0, "--samples", 16)


@pytest.fixture
def pathtracer(load):
    return load("pathtracer")


@pytest.fixture
def boxes(load, catalogues):
    catalogue = load("shapes.catalogue")
    return catalogue.choose_model(catalogue.find_models(catalogues), "threeBoxes")


def test_model_fills_the_bounding_sphere_z_up(pathtracer, boxes):
    parts, materials = pathtracer.read_model(boxes)
    assert set(parts) == set(materials) == {"red", "green thing", "blue"}
    radii = [np.linalg.norm(part.positions, axis=1).max() for part in parts.values()]
    assert max(radii) == pytest.approx(pathtracer.BOUND)
    red, green, blue = (parts[name].positions.mean(axis=0) for name in ("red", "green thing", "blue"))
    right, up, front = np.array([red, green, blue]) - (red + green + blue) / 3
    assert np.argmax(right) == 0 and np.argmax(up) == 2 and np.argmin(front) == 1


def test_a_model_can_be_tiny(pathtracer, boxes):
    whole, tiny = (pathtracer.model_mesh(boxes, radius=radius)[0] for radius in (1.2, 0.3))
    assert np.allclose(tiny * 4, whole) and np.linalg.norm(tiny, axis=1).max() == pytest.approx(0.3)


def test_srgb_colour_does_not_depend_on_alpha(pathtracer):
    colour, alpha = np.meshgrid(np.linspace(0, 1, 32), np.linspace(0.01, 1, 50))
    image = pathtracer.to_srgb_straight(np.stack([colour * alpha] * 3 + [alpha], axis=-1))
    assert (image[..., :3] == image[-1:, :, :3]).all()
    assert (image[0] != image[-1])[:, 3].all()


def test_srgb_known_values(pathtracer):
    grey = np.array([0.0, 0.002, 0.2159, 1.0, 7.0])
    image = pathtracer.to_srgb_straight(np.stack([grey] * 3 + [np.ones(5)], axis=-1))
    assert image[:, 0].tolist() == [0, 7, 128, 255, 255]
    assert (pathtracer.to_srgb_straight(np.array([0.5, 0.5, 0.5, 0.0])) == 0).all()


def test_studio_light_comes_from_above(pathtracer):
    light = pathtracer.studio_light(32)
    assert light.shape == (32, 64, 3) and light.dtype == np.float32 and (light > 0).all()
    assert light[:16].mean() > 2 * light[16:].mean()


def test_help_explains_every_option(command):
    process = command("render.py", "--help")
    assert process.returncode == 0
    for option in ("--output", "--list", "--size", "--train", "--val", "--test", "--samples", "--hdri", "--seed"):
        assert option in process.stdout


def test_list_needs_no_mitsuba(command, catalogues):
    process = command("render.py", "--list", "--catalogues", catalogues)
    assert process.returncode == 0
    assert "Handmade/threeBoxes" in process.stdout and "Public domain" in process.stdout


def test_errors_say_what_would_do(fails, catalogues, tmp_path):
    (tmp_path / "empty").mkdir()
    here = ("--catalogues", catalogues, "--output", tmp_path / "out")
    assert "apt-get install sweethome3d-furniture" in fails("render.py", "x", "-o", "out", "--catalogues", "empty")
    assert "threeBoxes" in fails("render.py", "treeBox", *here)
    assert "--list" in fails("render.py", "--catalogues", catalogues)
    assert "--size 0" in fails("render.py", "threeBoxes", *here, "--size", "0")
    assert "--test-samples -1" in fails("render.py", "threeBoxes", *here, "--test-samples", "-1")
    assert "--radius 1.3" in fails("render.py", "threeBoxes", *here, "--radius", "1.3")
    assert "--light 0:" in fails("render.py", "threeBoxes", *here, "--light", "0")
    assert "--roughness 0:" in fails("render.py", "threeBoxes", *here, "--roughness", "0")
    assert "no.exr is not a file" in fails("render.py", "threeBoxes", *here, "--hdri", "no.exr")
    (tmp_path / "stub").mkdir()
    (tmp_path / "stub" / "mitsuba.py").write_text("raise ImportError('not here')")
    message = fails("render.py", "threeBoxes", *here, PYTHONPATH=str(tmp_path / "stub"))
    assert "pip install -e '.[scenes]'" in message
    assert not (tmp_path / "out").exists()


def test_a_folder_begun_otherwise_is_refused(load, boxes, tmp_path):
    render, scene_error, note = load("render"), load("console").SceneError, tmp_path / "out" / "render.json"
    render.claim(tmp_path / "out", render.Settings(), boxes)
    render.claim(tmp_path / "out", render.Settings(), boxes)
    older = {
        name: value
        for name, value in json.loads(note.read_text()).items()
        if name not in ("radius", "roughness", "light")
    }
    note.write_text(json.dumps(older))
    render.claim(tmp_path / "out", render.Settings(), boxes)
    with pytest.raises(scene_error, match="roughness was None, now 0.1"):
        render.claim(tmp_path / "out", render.Settings(roughness=0.1), boxes)
    with pytest.raises(scene_error, match="size was 400, now 100"):
        render.claim(tmp_path / "out", render.Settings(size=100), boxes)
    (tmp_path / "out" / "render.json").write_text("[")
    with pytest.raises(scene_error, match="damaged"):
        render.claim(tmp_path / "out", render.Settings(), boxes)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "transforms_train.json").write_text("{}")
    with pytest.raises(scene_error, match="did not make"):
        render.claim(tmp_path / "other", render.Settings(), boxes)
    (tmp_path / "file").write_text("")
    with pytest.raises(scene_error, match="cannot use --output"):
        render.claim(tmp_path / "file" / "out", render.Settings(), boxes)


def test_poses_are_seeded_and_splits_differ(load):
    render = load("render")
    first, again, other = (render.poses(render.Settings(seed=seed)) for seed in (0, 0, 1))
    assert {split: len(views) for split, views in first.items()} == {"train": 100, "val": 4, "test": 20}
    assert (first["train"] == again["train"]).all() and not np.allclose(first["train"], other["train"])
    assert not np.allclose(first["train"][:4], first["val"])


@needs_mitsuba
def test_boxes_appear_where_the_pose_says(command, pathtracer, boxes, catalogues, tmp_path):
    """The three boxes, told apart by colour, lie where a pinhole camera of each pose projects them."""
    options = ("--catalogues", catalogues, "--size", 64, "--train", 3, "--val", 1, "--test", 2)
    process = command("render.py", "threeBoxes", "-o", "out", *options, "--samples", 32, "--test-samples", 32)
    assert process.returncode == 0, process.stderr
    parts, _ = pathtracer.read_model(boxes)
    checked = 0
    for split in ("train", "val", "test"):
        content = json.loads((tmp_path / "out" / f"transforms_{split}.json").read_text())
        focal = 32 / np.tan(content["camera_angle_x"] / 2)
        for frame in content["frames"]:
            image = np.asarray(Image.open(tmp_path / "out" / f"{frame['file_path']}.png")).astype(float)
            assert image.shape == (64, 64, 4)
            pose = np.array(frame["transform_matrix"])
            for channel, name in enumerate(("red", "green thing", "blue")):
                x, y, z = (parts[name].positions.mean(axis=0) - pose[:3, 3]) @ pose[:3, :3]
                others = np.delete(image[..., :3], channel, axis=-1).max(axis=-1)
                seen = (image[..., channel] > others + 30) & (image[..., 3] > 127)
                if seen.sum() < 30:  # behind another box
                    continue
                rows, columns = np.nonzero(seen)
                offset = [columns.mean() + 0.5 - (32 - focal * x / z), rows.mean() + 0.5 - (32 + focal * y / z)]
                assert np.abs(offset).max() < 4, (frame["file_path"], name, offset)
                checked += 1
    assert checked >= 12
    with np.load(tmp_path / "out" / "mesh_ground_truth.npz", allow_pickle=False) as arrays:
        corners = arrays["vertices"][arrays["triangles"]]
    expected = np.concatenate([part.positions[part.triangles] for part in parts.values()])
    assert np.allclose(corners, expected, atol=1e-6)


@needs_mitsuba
def test_a_stopped_run_goes_on(command, catalogues, tmp_path):
    arguments = ("render.py", "threeBoxes", "-o", "out", "--catalogues", catalogues, *TINY)
    assert command(*arguments).returncode == 0
    first, second = (tmp_path / "out" / "train" / f"r_{number}.png" for number in (0, 1))
    kept, lost = first.stat().st_mtime_ns, np.asarray(Image.open(second)).astype(int)
    second.unlink()
    assert command(*arguments).returncode == 0
    assert first.stat().st_mtime_ns == kept
    assert np.abs(np.asarray(Image.open(second)) - lost).max() <= 1
    assert not list((tmp_path / "out").rglob("*.part"))
    assert not (tmp_path / "out" / "transforms_val.json").exists()


@needs_mitsuba
@pytest.mark.skipif(not list(FURNITURE.glob("*.sh3f")), reason="no catalogue: apt-get install sweethome3d-furniture")
def test_catalogue_model_renders(command, tmp_path):
    process = command("render.py", "hotDog", "-o", "out", *TINY)
    assert process.returncode == 0, process.stderr
    assert re.search(r"2/2", process.stderr)  # the progress bar
    for number in range(2):
        image = np.asarray(Image.open(tmp_path / "out" / "train" / f"r_{number}.png")).astype(float)
        assert image.shape == (16, 16, 4) and 0.03 < image[..., 3].mean() / 255 < 0.5
        red, _, blue = image[image[..., 3] > 200][:, :3].mean(axis=0)
        assert red > 1.2 * blue  # bread
    assert json.loads((tmp_path / "out" / "render.json").read_text())["license"] == "Public domain"


@needs_mitsuba
def test_unreadable_hdri_is_named(fails, catalogues, tmp_path):
    (tmp_path / "bad.exr").write_text("not a panorama")
    arguments = ("threeBoxes", "-o", "out", "--catalogues", catalogues, *TINY)
    assert "--hdri bad.exr" in fails("render.py", *arguments, "--hdri", "bad.exr")
