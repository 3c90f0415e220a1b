"""Packed pixels in 8 bits: the same as the images, read late, and a few at a time."""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from nerfstudio.data.dataparsers.blender_dataparser import BlenderDataParserConfig
from nerfstudio.data.pixel_samplers import PixelSamplerConfig

from eugen_fields.data.multiscale import MultiScaleDataset
from eugen_fields.data.pixel_loader import PixelLoader
from eugen_fields.data.pixels import AreaPixelSampler, pack_pixels
from eugen_fields.errors import InputError


@pytest.fixture
def dataset(sphere_scene: Path) -> MultiScaleDataset:
    outputs = BlenderDataParserConfig(data=sphere_scene, alpha_color=None).setup().get_dataparser_outputs("train")
    return MultiScaleDataset(outputs)


def test_images_are_packed_as_from_a_list_in_8_bits(dataset: MultiScaleDataset) -> None:
    packed = PixelLoader(dataset).batch()
    assert packed["image"].dtype == torch.uint8
    order = packed["image_idx"].tolist()
    assert sorted(order) == list(range(len(dataset)))
    expected = pack_pixels([dataset.get_data(index, image_type="uint8") for index in order])
    assert set(packed) == set(expected)
    for name, value in expected.items():
        assert torch.equal(packed[name], value), name


def test_draws_are_the_floats_of_the_images(dataset: MultiScaleDataset) -> None:
    sampler = AreaPixelSampler(PixelSamplerConfig(), num_rays_per_batch=300)
    batch = sampler.sample(PixelLoader(dataset).batch())
    assert batch["image"].dtype == torch.float32
    for color, (image, row, column) in zip(batch["image"], batch["indices"].tolist()):
        assert torch.equal(color, dataset[image]["image"][row, column])


def test_nothing_is_read_before_it_is_asked_for_and_then_once(dataset: MultiScaleDataset) -> None:
    read: list[int] = []
    get_data = dataset.get_data

    def counted(index: int, **kind: Any) -> dict[str, Any]:
        read.append(index)
        return get_data(index, **kind)

    dataset.get_data = counted  # type: ignore[method-assign]
    loader = PixelLoader(dataset)
    assert read == []
    first = loader.batch()
    assert next(iter(loader)) is first and next(loader) is first
    assert sorted(read) == list(range(len(dataset)))


def test_few_images_are_held_beside_the_packed_ones(dataset: MultiScaleDataset) -> None:
    alive: list[weakref.ref] = []
    most = 0
    get_data = dataset.get_data

    def watched(index: int, **kind: Any) -> dict[str, Any]:
        nonlocal most
        data = get_data(index, **kind)
        alive.append(weakref.ref(data["image"]))
        most = max(most, sum(reference() is not None for reference in alive))
        return data

    dataset.get_data = watched  # type: ignore[method-assign]
    PixelLoader(dataset).batch()
    assert len(alive) == len(dataset) > 9 and most <= 9


def test_some_images_are_drawn_anew_from_time_to_time(dataset: MultiScaleDataset) -> None:
    loader = PixelLoader(dataset, num_images=3, num_repeats=2)
    assert not loader.has_all
    drawn = [tuple(next(loader)["image_idx"].tolist()) for _ in range(24)]
    changes = [step for step in range(1, 24) if drawn[step] != drawn[step - 1]]
    assert len(changes) >= 5 and all(step % 3 == 0 for step in changes)
    kept = PixelLoader(dataset, num_images=3)
    assert len({tuple(next(kept)["image_idx"].tolist()) for _ in range(5)}) == 1


def test_images_of_both_kinds_are_refused_while_they_are_read(dataset: MultiScaleDataset) -> None:
    get_data = dataset.get_data

    def mixed(index: int, **kind: Any) -> dict[str, Any]:
        data = get_data(index, **kind)
        return data | {"image": data["image"][..., :3]} if index == 2 else data

    dataset.get_data = mixed  # type: ignore[method-assign]
    with pytest.raises(InputError, match="some images have an alpha channel"):
        PixelLoader(dataset).batch()
