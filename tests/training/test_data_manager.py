"""Where the data manager keeps the images."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from nerfstudio.data.dataparsers.blender_dataparser import BlenderDataParserConfig
from nerfstudio.data.dataparsers.nerfstudio_dataparser import NerfstudioDataParserConfig
from nerfstudio.model_components.ray_generators import RayGenerator

from eugen_fields.data.multiscale import MultiScaleDataset
from eugen_fields.errors import InputError
from eugen_fields.training.data_manager import FieldDataManager, FieldDataManagerConfig, images_fit


@pytest.mark.parametrize(("free_bytes", "fit"), [(1 << 30, True), (1000, False)])
def test_images_go_to_the_gpu_only_where_they_fit(
    sphere_scene: Path, monkeypatch: pytest.MonkeyPatch, free_bytes: int, fit: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free_bytes, free_bytes))
    parser = BlenderDataParserConfig(data=sphere_scene, alpha_color=None)
    config = FieldDataManagerConfig(dataparser=parser, images_on_gpu=True)
    manager = config.setup(device="cpu", test_mode="val")
    assert config.images_on_gpu and "image" not in manager.exclude_batch_keys_from_device, "no question on the CPU"
    assert images_fit(manager.train_dataset, torch.device("cuda")) == fit
    manager.device = "cuda"
    FieldDataManager.create_train_dataset(manager)
    assert config.images_on_gpu == fit


def test_the_bytes_counted_are_those_of_images_and_draws(sphere_scene: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parser = BlenderDataParserConfig(data=sphere_scene, alpha_color=None)
    dataset = FieldDataManagerConfig(dataparser=parser).setup(device="cpu", test_mode="val").train_dataset
    size = sum(dataset[index]["image"].numel() for index in range(len(dataset)))
    for spare, fit in ((0, False), (2, True)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, spare=spare: (6 * size + spare, 0))
        assert images_fit(dataset, torch.device("cuda")) == fit


def test_rays_of_many_steps_are_drawn_at_once_and_none_is_used_twice(capture_scene: Path) -> None:
    parser = NerfstudioDataParserConfig(data=capture_scene, eval_mode="fraction")
    manager = FieldDataManagerConfig(dataparser=parser, train_num_rays_per_batch=50).setup(device="cpu")
    images = torch.stack([manager.train_dataset[index]["image"] for index in range(len(manager.train_dataset))])
    drawn = []
    sampler = manager.train_pixel_sampler
    one_draw = sampler.sample
    sampler.sample = lambda *arguments: drawn.append(one_draw(*arguments)) or drawn[-1]
    found = []
    for step, wanted in enumerate([50] * 17 + [70, 20, 900, 40]):
        sampler.set_num_rays_per_batch(wanted)
        rays, batch = manager.next_train(step)
        assert len(rays) == len(batch["image"]) == len(batch["indices"]) == wanted
        exact = manager.train_ray_generator(batch["indices"])
        for name in ("origins", "directions", "pixel_area", "camera_indices"):
            assert torch.equal(getattr(rays, name), getattr(exact, name)), name
        camera, row, column = batch["indices"].T
        assert torch.equal(batch["image"], images[camera, row, column])
        found.append(batch["indices"])
    assert [len(draw["indices"]) for draw in drawn] == [800, 800, 14400]
    assert torch.equal(torch.cat(found[:16]), drawn[0]["indices"]), "each is used once, in order"
    assert torch.equal(torch.cat(found[16:19]), drawn[1]["indices"][:140])


def test_images_that_are_loaded_in_turns_are_drawn_from_step_by_step(capture_scene: Path) -> None:
    parser = NerfstudioDataParserConfig(data=capture_scene, eval_mode="fraction")
    config = FieldDataManagerConfig(dataparser=parser, train_num_rays_per_batch=30, train_num_images_to_sample_from=2)
    config.train_num_times_to_repeat_images = 1
    manager = config.setup(device="cpu")
    cameras = {tuple(manager.next_train(step)[1]["indices"][:, 0].unique().tolist()) for step in range(12)}
    assert all(len(pair) <= 2 for pair in cameras) and len(cameras) > 2


def test_rays_are_those_of_nerfstudios_generator(capture_scene: Path) -> None:
    manager = FieldDataManagerConfig(dataparser=NerfstudioDataParserConfig(data=capture_scene)).setup(device="cpu")
    indices = manager.next_train(0)[1]["indices"]
    found, expected = (
        generator(indices) for generator in (manager.train_ray_generator, RayGenerator(manager.train_dataset.cameras))
    )
    for name in ("origins", "directions", "pixel_area", "camera_indices"):
        assert torch.equal(getattr(found, name), getattr(expected, name)), name


def test_finished_runs_are_opened_without_reading_the_training_images(capture_scene: Path, monkeypatch) -> None:
    read = []
    get_data = MultiScaleDataset.get_data
    monkeypatch.setattr(MultiScaleDataset, "get_data", lambda *args, **kind: read.append(1) or get_data(*args, **kind))
    parser = NerfstudioDataParserConfig(data=capture_scene, eval_mode="fraction")
    manager = FieldDataManagerConfig(dataparser=parser).setup(device="cpu", test_mode="test")
    list(manager.fixed_indices_eval_dataloader)
    assert len(read) == len(manager.eval_dataset)


def test_few_pixels_to_score_are_refused_by_name(capture_scene: Path) -> None:
    config = FieldDataManagerConfig(dataparser=NerfstudioDataParserConfig(data=capture_scene), eval_pixels=100)
    with pytest.raises(InputError, match="eval-pixels is 100; it must be 0, for all pixels, or at least 256"):
        config.check_data(capture_scene)
