"""Where the data manager keeps the images."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from nerfstudio.data.dataparsers.blender_dataparser import BlenderDataParserConfig

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


def test_the_bytes_counted_are_those_of_the_images(sphere_scene: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parser = BlenderDataParserConfig(data=sphere_scene, alpha_color=None)
    dataset = FieldDataManagerConfig(dataparser=parser).setup(device="cpu", test_mode="val").train_dataset
    size = sum(dataset[index]["image"].numel() * 4 for index in range(len(dataset)))
    for spare, fit in ((0, False), (2, True)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, spare=spare: (2 * size + spare, 0))
        assert images_fit(dataset, torch.device("cuda")) == fit
