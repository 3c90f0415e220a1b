"""downscale.py: an area mean that treats alpha as coverage."""

import json

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def area_mean(load):
    return load("downscale").area_mean


@pytest.fixture
def image():
    """(24, 36, 4) random colours and alphas, a third of them fully clear and a third opaque."""
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (24, 36, 4), dtype=np.uint8)
    kind = generator.integers(0, 3, (24, 36))
    pixels[kind == 0, 3] = 0
    pixels[kind == 1, 3] = 255
    return pixels


@pytest.mark.parametrize("factor", [1, 2, 3, 4])
def test_constant_colour_is_kept_under_any_alpha(area_mean, image, factor):
    image[..., :3] = (200, 100, 7)
    small = area_mean(image, factor)
    assert small.shape == (24 // factor, 36 // factor, 4) and small.dtype == np.uint8
    assert (small[small[..., 3] > 0][:, :3] == (200, 100, 7)).all()


@pytest.mark.parametrize("factor", [1, 2, 3, 4])
def test_alpha_mean_is_kept(area_mean, image, factor):
    small = area_mean(image, factor)
    blocks = image[..., 3].reshape(24 // factor, factor, 36 // factor, factor)
    assert np.abs(small[..., 3] - blocks.mean(axis=(1, 3))).max() <= 0.5


def test_opaque_image_gets_the_plain_mean(area_mean, image):
    image[..., 3] = 255
    blocks = image[..., :3].reshape(12, 2, 18, 2, 3)
    assert np.abs(area_mean(image, 2)[..., :3] - blocks.mean(axis=(1, 3))).max() <= 0.5


def test_hidden_colours_do_not_count(area_mean, image):
    other = image.copy()
    other[other[..., 3] == 0] = (1, 255, 3, 0)
    assert (area_mean(other, 2) == area_mean(image, 2)).all()


def test_clear_pixels_become_zero(area_mean, image):
    image[..., 3] = 0
    assert (area_mean(image, 2) == 0).all()


def test_factor_one_is_the_identity_on_visible_pixels(area_mean, image):
    visible = image[..., 3] > 0
    assert (area_mean(image, 1)[visible] == image[visible]).all()


@pytest.mark.parametrize("background", [0.0, 255.0])
def test_shrinking_and_compositing_commute(area_mean, image, background):
    def composite(rgba):
        alpha = rgba[..., 3:] / 255
        return rgba[..., :3] * alpha + background * (1 - alpha)

    mean = composite(image).reshape(12, 2, 18, 2, 3).mean(axis=(1, 3))
    assert np.abs(composite(area_mean(image, 2)) - mean).max() <= 1.01  # half a step of colour and half one of alpha


def write_scene(folder, image, names=("./train/r_0", "./train/r_1")):
    frames = [{"file_path": name, "transform_matrix": np.eye(4).tolist()} for name in names]
    (folder / "train").mkdir(parents=True)
    (folder / "transforms_train.json").write_text(json.dumps({"camera_angle_x": 0.7, "frames": frames}))
    for name in names:
        Image.fromarray(image).save(folder / f"{name}.png")


def test_command_writes_the_same_layout_smaller(command, area_mean, image, tmp_path):
    write_scene(tmp_path / "big", image)
    process = command("downscale.py", "big", "small", "--factor", "4")
    assert process.returncode == 0, process.stderr
    big, small = (json.loads((tmp_path / scene / "transforms_train.json").read_text()) for scene in ("big", "small"))
    assert big == small
    assert sorted(path.name for path in (tmp_path / "small").rglob("*.*")) == [
        "r_0.png",
        "r_1.png",
        "transforms_train.json",
    ]
    assert (np.asarray(Image.open(tmp_path / "small/train/r_1.png")) == area_mean(image, 4)).all()


def test_errors_say_what_is_wrong(fails, image, tmp_path):
    assert "holds no transforms_train.json" in fails("downscale.py", "nowhere", "small")
    write_scene(tmp_path / "big", image)
    assert "36x24; --factor 5 does not divide that" in fails("downscale.py", "big", "small", "--factor", "5")
    assert "--factor 0" in fails("downscale.py", "big", "small", "--factor", "0")
    assert "give another DST" in fails("downscale.py", "big", tmp_path / "big")
    (tmp_path / "file").write_text("")
    assert "cannot write" in fails("downscale.py", "big", "file/small")
    (tmp_path / "big/train/r_1.png").write_text("not a picture")
    assert "cannot read" in fails("downscale.py", "big", "small")
    (tmp_path / "big/train/r_1.png").unlink()
    assert "No such file" in fails("downscale.py", "big", "small")
    write_scene(tmp_path / "outside", image, ["../r_0"])
    assert "outside its own folder" in fails("downscale.py", "outside", "small")
    (tmp_path / "big/transforms_train.json").write_text("{")
    assert "not a Blender-synthetic transforms file" in fails("downscale.py", "big", "small")
