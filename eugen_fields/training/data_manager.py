"""nerfstudio's data manager, with the checks of the scene in front of it, several scales, and fair draws of pixels."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.data.datamanagers.base_datamanager import VanillaDataManager, VanillaDataManagerConfig
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from nerfstudio.data.pixel_samplers import PixelSampler
from nerfstudio.data.utils.dataloaders import FixedIndicesEvalDataloader
from nerfstudio.utils.rich_utils import CONSOLE
from torch import Tensor

from eugen_fields.data.checks import check_scene
from eugen_fields.data.multiscale import MultiScaleDataset
from eugen_fields.data.parsers.choose import stand_in
from eugen_fields.data.pixels import AreaPixelSampler, pack_pixels
from eugen_fields.errors import InputError
from eugen_fields.runs.opened import check_interpolation
from eugen_fields.runs.scene import place_opened_scene

_STEPS_AT_ONCE = 16


@dataclass
class FieldDataManagerConfig(VanillaDataManagerConfig):
    """Images in memory, pixels drawn at random."""

    _target: type = field(default_factory=lambda: FieldDataManager)
    num_scales: int = 1
    """Number of sizes at which every image is used, in training and evaluation: 1 is full size alone, 4 adds 1/2, 1/4
    and 1/8."""

    least_foreground: float = 0.3
    """Least share of the training rays that meet visible pixels of images with alpha or their surroundings, 0 to 1.
    Thin and distant objects are then seen more often than their share of the images. 0: all pixels are alike."""

    def check_data(self, data: Path | None) -> None:
        """Checks what training reads. Raises InputError naming the file, what was found and what would do."""
        if not 0.0 <= self.least_foreground <= 1.0:
            raise InputError(
                f"--pipeline.datamanager.least-foreground is {self.least_foreground}; it must be from 0 to 1."
            )
        if self.patch_size < 1:
            raise InputError(f"--pipeline.datamanager.patch-size is {self.patch_size}; it must be at least 1.")
        check_scene(self.dataparser, data, num_scales=self.num_scales)


class FieldDataManager(VanillaDataManager[MultiScaleDataset]):
    """A VanillaDataManager (nerfstudio's exporters ask for one) that checks the scene when a finished run is opened.
    Training has checked it already."""

    config: FieldDataManagerConfig
    fixed_indices_eval_dataloader: FixedIndicesEvalDataloader
    _drawn: tuple[RayBundle, dict[str, Tensor]] | None = None
    _used = 0

    def __init__(
        self,
        config: FieldDataManagerConfig,
        device: Any = "cpu",
        test_mode: Literal["test", "val", "inference"] = "val",
        **kwargs: Any,
    ) -> None:
        place_opened_scene(config)
        if test_mode != "val":
            splits, images = ("train", "test"), test_mode == "test"
            check_scene(config.dataparser, config.data, splits, images, config.num_scales)
        config.dataparser = stand_in(config.dataparser)
        super().__init__(config, device, test_mode, **kwargs)
        check_interpolation(len(self.train_dataset), len(self.eval_dataset))

    def create_train_dataset(self) -> MultiScaleDataset:
        dataset = self._dataset(self.train_dataparser_outputs)
        device = torch.device(self.device)
        if self.config.images_on_gpu and device.type == "cuda" and not images_fit(dataset, device):
            self.config.images_on_gpu = False
            CONSOLE.print("The images stay on the CPU: they would fill more than half of the GPU's free memory.")
        return dataset

    def create_eval_dataset(self) -> MultiScaleDataset:
        return self._dataset(self.dataparser.get_dataparser_outputs(split=self.test_split))

    def _dataset(self, outputs: DataparserOutputs) -> MultiScaleDataset:
        return MultiScaleDataset(outputs, self.config.camera_res_scale_factor, self.config.num_scales)

    def setup_train(self) -> None:
        self._pack()
        super().setup_train()

    def next_train(self, step: int) -> tuple[RayBundle, dict[str, Tensor]]:
        """The rays of a step and what they saw: a part of those that were drawn for several steps at once.

        A batch of some hundred rays costs nearly as much as one of some thousand, by the many small operations that
        undistort them.
        """
        sampler, all_images = self.train_pixel_sampler, self.config.train_num_images_to_sample_from == -1
        if not isinstance(sampler, AreaPixelSampler) or not all_images:
            return super().next_train(step)
        self.train_count += 1
        patch = sampler.patch_size**2
        num_rays = max(1, sampler.num_rays_per_batch // patch) * patch
        if self._drawn is None or self._used + num_rays > len(self._drawn[0]):
            images: Any = next(self.iter_train_image_dataloader)
            batch = sampler.sample(images, _STEPS_AT_ONCE * num_rays)
            self._drawn, self._used = (self.train_ray_generator(batch["indices"]), batch), 0
        rays, batch = self._drawn
        part = slice(self._used, self._used + num_rays)
        self._used += num_rays
        return rays[part], {name: value[part] for name, value in batch.items()}

    def setup_eval(self) -> None:
        self._pack()
        super().setup_eval()

    def _pack(self) -> None:
        """Has images packed as AreaPixelSampler draws from them."""
        sampler = self.config.pixel_sampler
        self.config.collate_fn = partial(
            pack_pixels, ignore_mask=sampler.ignore_mask, patch_size=self.config.patch_size
        )

    def _get_pixel_sampler(self, dataset: MultiScaleDataset, num_rays_per_batch: int) -> PixelSampler:
        sampler = AreaPixelSampler(self.config.pixel_sampler, num_rays_per_batch=num_rays_per_batch)
        sampler.patch_size = self.config.patch_size
        if dataset is self.train_dataset:
            sampler.least_foreground = self.config.least_foreground
        return sampler


def images_fit(dataset: MultiScaleDataset, device: torch.device) -> bool:
    """Whether a dataset's images, four floats per pixel, take less than half of the free memory of a CUDA device."""
    pixels = int((dataset.cameras.width * dataset.cameras.height).sum())
    return 16 * pixels < torch.cuda.mem_get_info(device)[0] / 2
