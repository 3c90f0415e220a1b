"""Scenes at several scales: what the smaller images hold, where their cameras look, and which scenes are refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from nerfstudio.data.dataparsers.blender_dataparser import BlenderDataParserConfig
from nerfstudio.data.dataparsers.nerfstudio_dataparser import NerfstudioDataParserConfig
from PIL import Image
from support.helpers import write_capture_scene

from eugen_fields.data.multiscale import MultiScaleDataset, area_average, check_scales, shrink_mask
from eugen_fields.data.pixels import pack_pixels
from eugen_fields.errors import InputError
from eugen_fields.training.data_manager import FieldDataManagerConfig


def parsed(scene: Path) -> DataparserOutputs:
    return BlenderDataParserConfig(data=scene, alpha_color=None).setup().get_dataparser_outputs("train")


@pytest.mark.parametrize("channels", [3, 4])
def test_averages_compose(channels: int) -> None:
    image = torch.rand(16, 24, channels, dtype=torch.float64)
    torch.testing.assert_close(area_average(area_average(image, 2), 4), area_average(image, 8))


def test_averages_over_any_background_are_those_of_the_blended_image() -> None:
    image, background = torch.rand(8, 8, 4, dtype=torch.float64), torch.rand(3, dtype=torch.float64)

    def blend(image: torch.Tensor) -> torch.Tensor:
        return image[..., :3] * image[..., 3:] + (1 - image[..., 3:]) * background

    torch.testing.assert_close(blend(area_average(image, 4)), area_average(blend(image), 4))


def test_transparent_pixels_do_not_bleed_and_are_no_nan() -> None:
    image = torch.zeros(4, 4, 4)
    image[0, 0] = torch.tensor([0.5, 0.25, 1.0, 1.0])
    small = area_average(image, 2)
    assert small.isfinite().all()
    torch.testing.assert_close(small[0, 0], torch.tensor([0.5, 0.25, 1.0, 0.25]))


def test_a_small_pixel_is_valid_only_if_all_of_its_pixels_are() -> None:
    mask = torch.ones(4, 6, 1, dtype=torch.bool)
    mask[1, 2] = False
    assert shrink_mask(mask, 2)[..., 0].tolist() == [[True, False, True], [True, True, True]]


def test_every_image_is_there_at_every_scale(sphere_scene: Path) -> None:
    outputs = parsed(sphere_scene)
    dataset = MultiScaleDataset(outputs, num_scales=4)
    assert len(dataset) == len(dataset.cameras) == len(dataset.image_filenames) == 48
    assert dataset.scale_of_image.tolist() == [0] * 12 + [1] * 12 + [2] * 12 + [3] * 12
    full = MultiScaleDataset(outputs)
    for index in (5, 17, 29, 41):
        item, scale = dataset[index], int(dataset.scale_of_image[index])
        assert item["image_idx"] == index and item["scale"] == scale
        assert dataset.image_filenames[index] == outputs.image_filenames[5]
        camera = dataset.cameras[index]
        assert item["image"].shape == (int(camera.height), int(camera.width), 4) == (24 >> scale, 24 >> scale, 4)
        torch.testing.assert_close(item["image"], area_average(full[5]["image"], 2**scale))


def test_the_ray_of_a_small_pixel_starts_in_the_middle_of_its_pixels(sphere_scene: Path) -> None:
    dataset = MultiScaleDataset(parsed(sphere_scene), num_scales=3)
    for scale in (1, 2):
        small = dataset.cameras.generate_rays(3 + 12 * scale, keep_shape=True)
        coords = small.camera_indices.new_tensor([2, 4]) * 2**scale + 2 ** (scale - 1)  # row 2, column 4: the corner
        full = dataset.cameras.generate_rays(3, coords=coords.float()[None])
        torch.testing.assert_close(small.directions[2, 4], full.directions[0])
        torch.testing.assert_close(small.origins[2, 4], full.origins[0])


def test_images_read_at_half_size_are_means_of_blocks(sphere_scene: Path) -> None:
    outputs = parsed(sphere_scene)
    full, half = MultiScaleDataset(outputs), MultiScaleDataset(outputs, scale_factor=0.5)
    for index in (0, 5):
        small, expected = half[index]["image"], area_average(full[index]["image"], 2)
        camera = half.cameras[index]
        assert small.shape == (int(camera.height), int(camera.width), 4) == (12, 12, 4)
        over_black = (image[..., :3] * image[..., 3:] for image in (small, expected))
        torch.testing.assert_close(*over_black, atol=1.1 / 255, rtol=0)  # both are rounded to bytes, one before alpha
        torch.testing.assert_close(small[..., 3], expected[..., 3], atol=0.51 / 255, rtol=0)


def test_images_read_at_other_sizes_are_as_large_as_their_cameras(sphere_scene: Path) -> None:
    dataset = MultiScaleDataset(parsed(sphere_scene), scale_factor=0.4)
    assert dataset[0]["image"].shape == (int(dataset.cameras[0].height), int(dataset.cameras[0].width), 4) == (9, 9, 4)


@pytest.mark.parametrize(("size", "scales", "fits"), [((20, 16), 4, 3), ((18, 16), 3, 2), ((15, 16), 2, 1)])
def test_sizes_that_do_not_halve_are_refused_with_what_would_do(size: tuple[int, int], scales: int, fits: int) -> None:
    camera = Cameras(torch.eye(4)[None, :3], 20.0, 20.0, 8.0, 8.0, width=size[0], height=size[1])
    with pytest.raises(InputError) as caught:
        check_scales(camera, scales, [Path("photo.png")])
    message = caught.value.message
    assert f"num-scales {scales}" in message and f"num-scales {fits}." in message
    assert f"photo.png has {size[0]}x{size[1]} pixels" in message
    check_scales(camera, fits, [Path("photo.png")])


def test_no_scale_at_all_is_refused() -> None:
    camera = Cameras(torch.eye(4)[None, :3], 20.0, 20.0, 8.0, 8.0, width=16, height=16)
    with pytest.raises(InputError, match="must be at least 1"):
        check_scales(camera, 0, [Path("photo.png")])


def test_frames_of_different_sizes_are_drawn_from_at_several_scales(capture_scene: Path, tmp_path: Path) -> None:
    content = json.loads((capture_scene / "transforms.json").read_text())
    for index, frame in enumerate(content["frames"]):
        size = 24 if index % 2 else 16
        focal = content["fl_x"] * size / 24
        frame |= {"w": size, "h": size, "fl_x": focal, "fl_y": focal, "cx": size / 2, "cy": size / 2}
        frame["file_path"] = str(tmp_path / f"{index}.png")
        Image.new("RGB", (size, size), (10 * index, 0, size)).save(frame["file_path"])
    for name in ("w", "h", "fl_x", "fl_y", "cx", "cy"):
        del content[name]
    (tmp_path / "transforms.json").write_text(json.dumps(content))
    config = FieldDataManagerConfig(
        dataparser=NerfstudioDataParserConfig(data=tmp_path), num_scales=2, images_on_gpu=True,
        train_num_rays_per_batch=1001,
    )  # fmt: skip
    manager = config.setup(device="cpu", test_mode="val")
    rays, batch = manager.next_train(0)
    assert len(rays) == 1001
    cameras = manager.train_dataset.cameras[batch["indices"][:, 0]]
    assert (batch["indices"][:, 1] < cameras.height[:, 0]).all() and (
        batch["indices"][:, 2] < cameras.width[:, 0]
    ).all()
    at_scale = manager.train_dataset.scale_of_image[batch["indices"][:, 0]]
    native = (batch["image"][:, 2] * 255).round().long()
    assert (cameras.width[:, 0] == native >> at_scale).all(), "each pixel is of the image that its index names"
    assert len(manager.next_eval(0)[0]) == config.eval_num_rays_per_batch
    assert {tuple(item["image"].shape[:2]) for _, item in manager.fixed_indices_eval_dataloader} <= {
        (24, 24), (16, 16), (12, 12), (8, 8),
    }  # fmt: skip


def test_one_image_with_alpha_makes_the_others_opaque(tmp_path: Path) -> None:
    scene = write_capture_scene(tmp_path / "ball", count=3)
    first = scene / "images" / "frame_00000.png"
    photo = Image.open(first)
    photo.convert("LA").save(first)
    outputs = NerfstudioDataParserConfig(data=scene, eval_mode="all").setup().get_dataparser_outputs("train")
    dataset = MultiScaleDataset(outputs, num_scales=2)
    gray = np.asarray(photo.convert("L"))
    for kind, white in (("uint8", 255), ("float32", 1.0)):
        images = [dataset.get_data(index, kind)["image"] for index in range(6)]
        assert {image.shape[-1] for image in images} == {4} and all((image[..., 3] == white).all() for image in images)
        assert np.allclose(images[0][..., 0].numpy() * (255 / white), gray)
    pack_pixels([dataset[index] for index in range(6)])


@pytest.mark.parametrize("scale_factor", [0.5, 0.75])
def test_masks_follow_the_size_of_images(scale_factor: float, tmp_path: Path) -> None:
    scene = write_capture_scene(tmp_path / "ball", count=1)
    mask = np.zeros((24, 24), dtype=np.uint8)
    mask[:, 13:] = 255
    Image.fromarray(mask).convert("P").save(scene / "mask.png")
    content = json.loads((scene / "transforms.json").read_text())
    content["frames"][0]["mask_path"] = "mask.png"
    (scene / "transforms.json").write_text(json.dumps(content))
    parser = NerfstudioDataParserConfig(data=scene, eval_mode="all", auto_scale_poses=False)
    data = MultiScaleDataset(parser.setup().get_dataparser_outputs("train"), scale_factor)[0]
    side = int(24 * scale_factor)
    assert data["image"].shape[:2] == data["mask"].shape[:2] == (side, side)
    edge = 7 if scale_factor == 0.5 else 10  # a pixel that is half masked out is masked out
    assert not data["mask"][:, :edge].any() and data["mask"][:, edge:].all()
