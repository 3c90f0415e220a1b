"""Smaller copies of images: of any rounding, made where there are none, with the cameras that see what is in them."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from nerfstudio.data.dataparsers.colmap_dataparser import ColmapDataParserConfig
from nerfstudio.data.dataparsers.nerfstudio_dataparser import NerfstudioDataParserConfig
from PIL import Image
from support.helpers import look_at_origin, write_colmap_scene

from eugen_fields.data.checks import check_scene
from eugen_fields.data.multiscale import MultiScaleDataset
from eugen_fields.data.parsers.choose import set_up_parser
from eugen_fields.errors import InputError

WIDTH, HEIGHT = 57, 43
FOCAL = 45.0
OPTIONS = {".webp": {"lossless": True}, ".jpg": {"quality": 95, "subsampling": 0}}


def picture(width: int, height: int) -> np.ndarray:
    """A smooth picture as a camera of so many pixels sees it, uint8 (height, width, 3)."""
    row, column = np.mgrid[0:height, 0:width] + 0.5
    column, row = column / width, row / height
    colors = np.stack([column, row, 0.5 + 0.5 * np.sin(3 * column) * row], axis=-1)
    return (255 * colors).round().astype(np.uint8)


def write_scene(folder: Path, names: tuple[str, ...] = ("images/0.png", "images/1.png", "images/2.png")) -> Path:
    frames = []
    for index, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(WIDTH, HEIGHT)).save(folder / name, **OPTIONS.get(Path(name).suffix, {}))
        frames.append({"file_path": name, "transform_matrix": look_at_origin(index, 0.3, 4.0).tolist()})
    camera = {"fl_x": FOCAL, "fl_y": FOCAL, "cx": 28.0, "cy": 22.0, "w": WIDTH, "h": HEIGHT, "k1": 0.1}
    (folder / "transforms.json").write_text(json.dumps(camera | {"frames": frames}))
    return folder


def save_copies(folder: Path, factor: int, rounding) -> None:
    for path in folder.joinpath("images").iterdir():
        copy = folder / f"images_{factor}" / path.name
        copy.parent.mkdir(exist_ok=True)
        Image.fromarray(picture(rounding(WIDTH / factor), rounding(HEIGHT / factor))).save(copy)


def parsed(scene: Path, **options):
    parser = NerfstudioDataParserConfig(data=scene, eval_mode="all", **options)
    check_scene(parser, scene)
    return set_up_parser(parser).get_dataparser_outputs("train")


@pytest.mark.parametrize("rounding", [math.floor, round, math.ceil])
@pytest.mark.parametrize("factor", [2, 4])
def test_copies_of_any_rounding_have_cameras_that_see_the_same(rounding, factor: int, tmp_path: Path) -> None:
    scene = write_scene(tmp_path)
    save_copies(scene, factor, rounding)
    full, small = parsed(scene), parsed(scene, downscale_factor=factor)
    width, height = rounding(WIDTH / factor), rounding(HEIGHT / factor)
    assert [path.parent.name for path in small.image_filenames] == 3 * [f"images_{factor}"]
    cameras = small.cameras
    assert set(cameras.width.flatten().tolist()) == {width} and set(cameras.height.flatten().tolist()) == {height}
    # a ray through the middle of the image is the same at both sizes, and so are the angles to its edges
    for name, middle, side, whole in (("x", 28.0, width, WIDTH), ("y", 22.0, height, HEIGHT)):
        assert torch.allclose(getattr(cameras, f"f{name}"), torch.tensor(FOCAL * side / whole))
        assert torch.allclose(getattr(cameras, f"c{name}"), torch.tensor(middle * side / whole))
    assert torch.equal(cameras.camera_to_worlds, full.cameras.camera_to_worlds)
    assert torch.equal(cameras.distortion_params, full.cameras.distortion_params)
    assert np.array_equal(MultiScaleDataset(small).get_numpy_image(0), picture(width, height))


def test_copies_are_made_where_they_are_not_there(tmp_path: Path) -> None:
    scene = write_scene(tmp_path, ("images/a/0.png", "images/b/0.jpg", "images/1.webp"))
    content = json.loads((scene / "transforms.json").read_text())
    for index, frame in enumerate(content["frames"]):
        mask = np.full((HEIGHT, WIDTH), 255, dtype=np.uint8)
        mask[:, : 13 + index] = 0
        frame["mask_path"] = f"masks/{index}.png"
        (scene / "masks").mkdir(exist_ok=True)
        Image.fromarray(mask).save(scene / frame["mask_path"])
    (scene / "transforms.json").write_text(json.dumps(content))
    small = parsed(scene, downscale_factor=4)
    made = sorted(path.relative_to(scene).as_posix() for path in scene.rglob("*_4/**/*") if path.is_file())
    assert made == [
        "images_4/1.webp",
        "images_4/a/0.png",
        "images_4/b/0.jpg",
        "masks_4/0.png",
        "masks_4/1.png",
        "masks_4/2.png",
    ]
    dataset = MultiScaleDataset(small)
    order = [path.relative_to(scene).as_posix() for path in small.image_filenames]
    for index, name in enumerate(order):
        data = dataset.get_data(index, "uint8")
        assert data["image"].shape == (10, 14, 3)
        assert np.abs(data["image"].numpy().astype(int) - picture(14, 10)).max() <= (
            12 if name.endswith("jpg") else 4
        ), name
        masked = 13 + ["images_4/a/0.png", "images_4/b/0.jpg", "images_4/1.webp"].index(name)
        assert int(data["mask"][0, :, 0].int().argmax()) == math.ceil(masked * 14 / WIDTH), "valid only if all of it is"
    times = {path: path.stat().st_mtime_ns for path in scene.rglob("*_4/**/*")}
    parsed(scene, downscale_factor=4)
    assert times == {path: path.stat().st_mtime_ns for path in scene.rglob("*_4/**/*")}, "made once"


def test_copies_of_another_size_are_refused_with_advice_that_works(tmp_path: Path) -> None:
    scene = write_scene(tmp_path)
    save_copies(scene, 2, math.floor)
    (scene / "images_2").rename(scene / "images_4")
    with pytest.raises(InputError, match=r"has 28x21 pixels, .* 14\.25x10\.75 at 1/4 .* Remove the folder") as caught:
        parsed(scene, downscale_factor=4)
    folder = Path(caught.value.message.split("Remove the folder ")[1].split(";")[0])
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    assert parsed(scene, downscale_factor=4).cameras.width.flatten().tolist() == [14, 14, 14]


def test_copies_alone_are_enough(tmp_path: Path) -> None:
    scene = write_scene(tmp_path)
    save_copies(scene, 2, math.ceil)
    for path in (scene / "images").iterdir():
        path.unlink()
    assert parsed(scene, downscale_factor=2).cameras.width.flatten().tolist() == [29, 29, 29]


def test_two_images_of_one_name_never_share_a_copy(tmp_path: Path) -> None:
    scene = write_scene(tmp_path, ("left/0.png", "right/0.png"))
    Image.new("RGB", (WIDTH, HEIGHT), "red").save(scene / "right" / "0.png")
    small = parsed(scene, downscale_factor=2)
    assert [path.relative_to(scene).as_posix() for path in small.image_filenames] == [
        "images_2/left/0.png", "images_2/right/0.png",
    ]  # fmt: skip
    assert np.array_equal(MultiScaleDataset(small).get_numpy_image(1)[3, 3], [255, 0, 0])
    flat = write_scene(tmp_path / "flat", ("left/0.png", "right/0.png"))
    (flat / "images_2").mkdir()
    Image.fromarray(picture(28, 21)).save(flat / "images_2" / "0.png")
    with pytest.raises(InputError, match=r"would both have the smaller copy .*images_2/0\.png"):
        parsed(flat, downscale_factor=2)


@pytest.mark.parametrize("factor", [0, -2])
def test_factors_that_are_none_are_refused(factor: int, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"--downscale-factor is {factor}"):
        parsed(write_scene(tmp_path), downscale_factor=factor)


def test_a_place_that_cannot_be_written_to_gets_advice_that_works(tmp_path: Path) -> None:
    scene = write_scene(tmp_path)
    (scene / "images_2").write_text("no folder")
    with pytest.raises(InputError, match=r"cannot write .*images_2/0\.png: .*camera-res-scale-factor 0\.5"):
        parsed(scene, downscale_factor=2)
    assert MultiScaleDataset(parsed(scene), 0.5).get_numpy_image(0).shape == (21, 28, 3)


def test_large_images_take_the_copies_that_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eugen_fields.data.scenes.smaller.MAX_AUTO_RESOLUTION", 20)
    scene = write_scene(tmp_path)
    assert parsed(scene).cameras.width.flatten().tolist() == [57, 57, 57]
    save_copies(scene, 2, math.ceil)
    assert parsed(scene).cameras.width.flatten().tolist() == [29, 29, 29]
    save_copies(scene, 4, math.floor)
    assert parsed(scene).cameras.width.flatten().tolist() == [14, 14, 14]


@pytest.mark.parametrize("mode", ["floor", "ceil"])
def test_colmap_scenes_have_copies_too(mode: str, tmp_path: Path) -> None:
    scene = write_colmap_scene(tmp_path / "scene", size=25)
    parser = ColmapDataParserConfig(data=scene, downscale_factor=2, downscale_rounding_mode=mode, eval_mode="all")  # type: ignore[arg-type]
    check_scene(parser, scene)
    side = 12 if mode == "floor" else 13
    assert {Image.open(path).size for path in (scene / "images_2").iterdir()} == {(side, side)}
    # other sizes than those that would be made are taken as well
    other = ColmapDataParserConfig(data=scene, downscale_factor=2, eval_mode="all")
    cameras = set_up_parser(other).get_dataparser_outputs("train").cameras
    focal = 0.5 * 25 / math.tan(0.35)
    assert torch.allclose(cameras.fx, torch.tensor(focal * side / 25)) and int(cameras.width[0]) == side
