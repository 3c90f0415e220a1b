"""The data parser depth-stream: what nerfstudio gets of a depth stream, and the checks before training."""

from __future__ import annotations

import re
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
import torch
from nerfstudio.cameras.cameras import CameraType
from nerfstudio.plugins.registry_dataparser import DataParserSpecification
from PIL import Image
from support.depth_recordings import (
    HEIGHT,
    WIDTH,
    poses,
    world_points,
    write_color,
    write_replica,
    write_transforms,
    write_tum,
)
from support.helpers import PROJECT

from eugen_fields.data.checks import check_scene
from eugen_fields.data.depth.depth_dataset import DepthStreamDataset
from eugen_fields.data.depth.depth_parser import DepthStreamDataParserConfig
from eugen_fields.errors import InputError


def test_it_is_registered() -> None:
    section = (PROJECT / "pyproject.toml").read_text().split('"nerfstudio.dataparser_configs"]')[1].split("\n[")[0]
    name, value = re.findall(r'^(\S+) = "(.+)"$', section, flags=re.MULTILINE)[0]
    specification = EntryPoint(name, value, "nerfstudio.dataparser_configs").load()
    assert name == "depth-stream" and isinstance(specification, DataParserSpecification)
    assert isinstance(specification.config, DepthStreamDataParserConfig) and specification.description


@pytest.mark.parametrize("write", [write_transforms, write_replica, write_tum])
@pytest.mark.filterwarnings("ignore:Using a non-tuple sequence")
def test_rays_of_nerfstudio_reach_the_same_points(write, tmp_path: Path) -> None:
    parser = DepthStreamDataParserConfig(data=write(tmp_path)).setup()
    outputs, stream = parser.get_dataparser_outputs("train"), parser.stream()
    assert outputs.cameras.camera_type.unique().item() == CameraType.PERSPECTIVE.value
    rays = outputs.cameras.generate_rays(camera_indices=4, keep_shape=True)
    along = stream.depth(4)[..., None] * rays.metadata["directions_norm"]
    points = rays.origins + along * rays.directions
    torch.testing.assert_close(points.reshape(-1, 3), stream.points(4), atol=1e-5, rtol=0)
    np.testing.assert_allclose(points.reshape(-1, 3).numpy(), world_points(poses(8)[4]), atol=1e-5)


def test_outputs_keep_world_order_and_files(tmp_path: Path) -> None:
    parser = DepthStreamDataParserConfig(data=write_transforms(tmp_path, count=21)).setup()
    outputs = parser.get_dataparser_outputs("train")
    assert outputs.image_filenames == [tmp_path / f"images/{index:04d}.png" for index in range(21)]
    assert outputs.metadata["depth_filenames"] == [tmp_path / f"depth/{index:04d}.png" for index in range(21)]
    assert outputs.metadata["depth_unit_scale_factor"] == 0.001 and outputs.metadata["has_color"]
    assert outputs.metadata["timestamps"].tolist() == [index / 30 for index in range(21)]
    assert torch.equal(outputs.dataparser_transform, torch.eye(4)[:3]) and outputs.dataparser_scale == 1
    assert torch.equal(outputs.scene_box.aabb, parser.stream().bounds())
    held = parser.get_dataparser_outputs("test")
    assert [path.stem for path in held.image_filenames] == ["0000", "0010", "0020"]
    assert held.metadata["timestamps"].tolist() == [0, 10 / 30, 20 / 30]
    assert torch.equal(held.cameras.camera_to_worlds, outputs.cameras.camera_to_worlds[::10])


def test_cameras_have_the_size_of_the_color_images(tmp_path: Path) -> None:
    write_transforms(tmp_path)
    plain = DepthStreamDataParserConfig(data=tmp_path).setup().get_dataparser_outputs().cameras
    for index in range(8):
        write_color(tmp_path / f"images/{index:04d}.png", index, (2 * WIDTH, 2 * HEIGHT))
    cameras = DepthStreamDataParserConfig(data=tmp_path).setup().get_dataparser_outputs().cameras
    for name in ("fx", "fy", "cx", "cy", "width", "height"):
        assert torch.equal(getattr(cameras, name), 2 * getattr(plain, name)), name


@pytest.mark.parametrize("color", [True, False])
@pytest.mark.parametrize("suffix", [".png", ".npy"])
def test_the_checks_before_training_pass(color: bool, suffix: str, tmp_path: Path) -> None:
    write_transforms(tmp_path, suffix=suffix, color=color)
    parser = DepthStreamDataParserConfig()
    check_scene(parser, tmp_path)
    assert parser.data == Path()


@pytest.mark.parametrize("scale_factor", [1.0, 0.5])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "I;16", "1"])
def test_images_of_every_mode_have_their_colors(mode: str, scale_factor: float, tmp_path: Path) -> None:
    write_transforms(tmp_path)
    wanted = {"RGB": (200, 100, 50), "RGBA": (200, 100, 50), "P": (200, 100, 50), "1": (255, 255, 255)}.get(
        mode, (200,) * 3
    )
    for path in sorted((tmp_path / "images").iterdir()):
        size = Image.open(path).size
        image = Image.new("RGB", size, wanted)
        image = (
            Image.new(mode, size, 200 << 8)
            if mode == "I;16"
            else image.quantize(4)
            if mode == "P"
            else image.convert(mode)
        )
        image.save(path)
    parser = DepthStreamDataParserConfig(data=tmp_path).setup()
    dataset = DepthStreamDataset(parser.get_dataparser_outputs("train"), parser.stream(), scale_factor)
    image = dataset.get_numpy_image(2)
    camera = dataset.cameras[2]
    assert image.shape == (int(camera.height), int(camera.width), 3) and image.dtype == np.uint8
    assert (np.abs(image.astype(int) - wanted) <= 1).all()


def test_the_checks_before_training_find_what_is_wrong(tmp_path: Path) -> None:
    write_transforms(tmp_path)
    with pytest.raises(InputError, match="--depth-unit-scale-factor 0.001"):
        check_scene(DepthStreamDataParserConfig(depth_unit_scale_factor=1.0), tmp_path)
    with pytest.raises(InputError, match="--eval-every 0"):
        check_scene(DepthStreamDataParserConfig(eval_every=0), tmp_path)
    (tmp_path / "images/0003.png").write_bytes(b"no image")
    with pytest.raises(InputError, match="0003.png cannot be read"):
        check_scene(DepthStreamDataParserConfig(), tmp_path)
