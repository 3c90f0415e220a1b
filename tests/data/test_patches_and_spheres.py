"""Pixels drawn in patches, and from spherical images: by their area on the sphere."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from nerfstudio.data.dataparsers.nerfstudio_dataparser import NerfstudioDataParserConfig
from nerfstudio.data.pixel_samplers import PixelSamplerConfig
from support.captures import edit
from support.helpers import write_capture_scene

from eugen_fields.data.checks import check_scene
from eugen_fields.data.pixels import AreaPixelSampler, pack_pixels
from eugen_fields.errors import InputError
from eugen_fields.training.data_manager import FieldDataManager, FieldDataManagerConfig


def numbered(index: int, height: int, width: int, mask: torch.Tensor | None = None) -> dict:
    """An image whose pixels hold their own camera, row and column."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    image = torch.stack([torch.full_like(rows, index), rows, columns], dim=-1).float()
    return {"image": image, "image_idx": index} | ({} if mask is None else {"mask": mask})


def patches(items: list[dict], size: int, rays: int) -> torch.Tensor:
    """Indices of drawn pixels, (patches, size, size, 3), checked against the pixels themselves."""
    torch.manual_seed(0)
    sampler = AreaPixelSampler(PixelSamplerConfig(), num_rays_per_batch=rays)
    sampler.patch_size = size
    batch = sampler.sample(pack_pixels(items, patch_size=size))
    assert torch.equal(batch["image"].long(), batch["indices"])
    return batch["indices"].view(-1, size, size, 3)


@pytest.mark.parametrize("size", [2, 3])
def test_patches_are_squares_within_one_image(size: int) -> None:
    drawn = patches([numbered(3, 5, 7), numbered(1, 4, 3)], size, 4001)
    assert len(drawn) == 4001 // size**2
    steps = torch.arange(size)
    assert torch.equal(drawn[..., 1], drawn[:, :1, :1, 1] + steps[:, None].expand(size, size))
    assert torch.equal(drawn[..., 2], drawn[:, :1, :1, 2] + steps.expand(size, size))
    corners = torch.unique(drawn[:, 0, 0], dim=0)
    assert len(corners) == (6 - size) * (8 - size) + (5 - size) * (4 - size), "every place is drawn"


def test_patches_show_nothing_that_is_masked_out() -> None:
    mask = torch.ones(8, 9, 1, dtype=torch.bool)
    mask[4, 5] = mask[0, 0] = False
    drawn = patches([numbered(0, 8, 9, mask=mask)], 2, 8000)
    assert mask[drawn[..., 1], drawn[..., 2]].all()
    assert len(torch.unique(drawn[:, 0, 0], dim=0)) == 7 * 8 - 4 - 1


def test_an_image_smaller_than_a_patch_is_named() -> None:
    with pytest.raises(InputError, match="patch-size 4 is larger than an image of 9x3 pixels"):
        patches([numbered(0, 3, 9)], 4, 100)


def panoramas(folder: Path, **camera: object) -> Path:
    scene = write_capture_scene(folder / "ball", count=4)
    whole = {"camera_model": "EQUIRECTANGULAR", "fl_x": 12.0, "fl_y": 24.0}
    edit(scene, lambda content: content.update(whole | camera))
    return scene


def manager_of(scene: Path, **options: Any) -> FieldDataManager:
    torch.manual_seed(0)
    parser = NerfstudioDataParserConfig(data=scene, eval_mode="all")
    config = FieldDataManagerConfig(dataparser=parser, images_on_gpu=True, **options)
    check_scene(config.dataparser, scene, num_scales=config.num_scales)
    return config.setup(device="cpu", test_mode="val")


@pytest.mark.parametrize("num_scales", [1, 2])
def test_directions_of_panoramas_are_even_on_the_sphere(tmp_path: Path, num_scales: int) -> None:
    """The height of points spread evenly over the unit sphere is uniform (Archimedes): its square has the mean 1/3."""
    manager = manager_of(panoramas(tmp_path), train_num_rays_per_batch=40_000, num_scales=num_scales)
    rays, batch = manager.next_train(0)
    poses = manager.train_dataset.cameras.camera_to_worlds[batch["indices"][:, 0]]
    height = torch.einsum("nij,ni->nj", poses[:, :, :3], rays.directions)[:, 1]
    assert abs(float(height.mean())) < 0.02 and abs(float((height**2).mean()) - 1 / 3) < 0.01
    if num_scales == 1:
        areas = torch.cos(math.pi * (torch.arange(24) + 0.5 - 12.0) / 24.0)
        shares = torch.bincount(batch["indices"][:, 1], minlength=24) / len(rays)
        assert (shares - areas / areas.sum()).abs().max() < 5 * math.sqrt(0.066 / len(rays)), "five deviations"


def test_rays_of_panoramas_are_those_of_the_formula(tmp_path: Path) -> None:
    manager = manager_of(panoramas(tmp_path), train_num_rays_per_batch=2000)
    rays, batch = manager.next_train(0)
    index, row, column = batch["indices"].unbind(-1)
    longitude = math.pi * (column + 0.5 - 12.0) / 12.0
    latitude = -math.pi * (row + 0.5 - 12.0) / 24.0
    local = torch.stack([longitude.sin() * latitude.cos(), latitude.sin(), -longitude.cos() * latitude.cos()], dim=-1)
    poses = manager.train_dataset.cameras.camera_to_worlds[index]
    expected = torch.einsum("nij,nj->ni", poses[:, :, :3], local)
    torch.testing.assert_close(rays.directions, expected, atol=1e-5, rtol=0)


def test_rows_beyond_the_poles_are_never_drawn(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="24x24 pixels of a panorama show 360 x 240 degrees"):
        manager = manager_of(panoramas(tmp_path, fl_y=18.0), train_num_rays_per_batch=20_000)
    rows = manager.next_train(0)[1]["indices"][:, 1]
    assert rows.min() == 3 and rows.max() == 20


@pytest.mark.parametrize("num_scales", [1, 2])
def test_patches_train_through_the_data_manager(tmp_path: Path, num_scales: int) -> None:
    scene = write_capture_scene(tmp_path / "ball", count=4)
    manager = manager_of(scene, train_num_rays_per_batch=64, patch_size=2, num_scales=num_scales)
    rays, batch = manager.next_train(0)
    assert len(rays) == len(batch["image"]) == 64
    corner, right, below, _ = batch["indices"].view(-1, 4, 3).unbind(1)
    assert torch.equal(right - corner, torch.tensor([0, 0, 1]).expand(16, 3))
    assert torch.equal(below - corner, torch.tensor([0, 1, 0]).expand(16, 3))
