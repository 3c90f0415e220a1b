"""nerfstudio's data manager, with the checks of the scene in front of it, several scales, and fair draws of pixels that
are kept in 8 bits."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.data.datamanagers.base_datamanager import VanillaDataManager, VanillaDataManagerConfig
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from nerfstudio.data.pixel_samplers import PixelSampler
from nerfstudio.data.utils.dataloaders import FixedIndicesEvalDataloader, RandIndicesEvalDataloader
from nerfstudio.model_components.ray_generators import RayGenerator
from nerfstudio.utils.rich_utils import CONSOLE
from torch import Tensor

from eugen_fields.data.checks import check_scene
from eugen_fields.data.multiscale import MultiScaleDataset
from eugen_fields.data.parsers.choose import stand_in
from eugen_fields.data.pixel_loader import PixelLoader
from eugen_fields.data.pixels import AreaPixelSampler
from eugen_fields.data.reduced import ReducedViews
from eugen_fields.errors import InputError
from eugen_fields.runs.opened import check_interpolation
from eugen_fields.runs.scene import place_opened_scene

_STEPS_AT_ONCE = 16
_LEAST_EVAL_PIXELS = 256


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

    eval_pixels: int = 0
    """Most pixels of a view that is scored: images that are larger are divided by a whole number along each side, each
    pixel the mean over a square. Training sees all pixels in any case. 0: score all pixels."""

    def check_data(self, data: Path | None) -> None:
        """Checks what training reads. Raises InputError naming the file, what was found and what would do."""
        if not 0.0 <= self.least_foreground <= 1.0:
            raise InputError(
                f"--pipeline.datamanager.least-foreground is {self.least_foreground}; it must be from 0 to 1."
            )
        if self.eval_pixels != 0 and self.eval_pixels < _LEAST_EVAL_PIXELS:
            raise InputError(
                f"--pipeline.datamanager.eval-pixels is {self.eval_pixels}; it must be 0, for all pixels, or at least "
                f"{_LEAST_EVAL_PIXELS}."
            )
        if self.patch_size < 1:
            raise InputError(f"--pipeline.datamanager.patch-size is {self.patch_size}; it must be at least 1.")
        check_scene(self.dataparser, data, num_scales=self.num_scales)


class PixelRayGenerator(RayGenerator):
    """nerfstudio's RayGenerator without its table of the coordinates of all pixels, which are half a pixel more than
    their indices: of large photos it takes as much memory as several of them."""

    def __init__(self, cameras: Cameras) -> None:
        torch.nn.Module.__init__(self)
        self.cameras = cameras

    def forward(self, ray_indices: Tensor) -> RayBundle:
        """Rays of pixels (rays, 3): camera, row, column."""
        return self.cameras.generate_rays(camera_indices=ray_indices[:, :1], coords=ray_indices[:, 1:] + 0.5)


class FieldDataManager(VanillaDataManager[MultiScaleDataset]):
    """A VanillaDataManager (nerfstudio's exporters ask for one) that checks the scene when a finished run is opened.
    Training has checked it already."""

    config: FieldDataManagerConfig
    fixed_indices_eval_dataloader: FixedIndicesEvalDataloader
    scored_views: ReducedViews
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
        """Prepares training; the images are read when the first rays are drawn, or by train_images()."""
        config = self.config
        loads = (config.train_num_images_to_sample_from, config.train_num_times_to_repeat_images)
        self.train_image_dataloader = self._pixels(self.train_dataset, *loads)  # type: ignore[assignment]
        self.iter_train_image_dataloader = iter(self.train_image_dataloader)
        self.train_pixel_sampler = self._get_pixel_sampler(self.train_dataset, config.train_num_rays_per_batch)
        self.train_ray_generator = PixelRayGenerator(self.train_dataset.cameras.to(self.device))

    def setup_eval(self) -> None:
        """Prepares evaluation: batches of rays at full size, and whole views of at most `eval_pixels`."""
        config = self.config
        loads = (config.eval_num_images_to_sample_from, config.eval_num_times_to_repeat_images)
        self.eval_image_dataloader = self._pixels(self.eval_dataset, *loads)  # type: ignore[assignment]
        self.iter_eval_image_dataloader = iter(self.eval_image_dataloader)
        self.eval_pixel_sampler = self._get_pixel_sampler(self.eval_dataset, config.eval_num_rays_per_batch)
        self.eval_ray_generator = PixelRayGenerator(self.eval_dataset.cameras.to(self.device))
        self.scored_views = ReducedViews(self.eval_dataset, config.eval_pixels)
        views: Any = self.scored_views
        self.fixed_indices_eval_dataloader = FixedIndicesEvalDataloader(views, device=self.device)
        self.eval_dataloader = RandIndicesEvalDataloader(views, device=self.device)

    def _pixels(self, dataset: MultiScaleDataset, num_images: int, num_repeats: int) -> PixelLoader:
        return PixelLoader(
            dataset,
            num_images=num_images,
            num_repeats=num_repeats,
            device=self.device,
            exclude=self.exclude_batch_keys_from_device,
            ignore_mask=self.config.pixel_sampler.ignore_mask,
            patch_size=self.config.patch_size,
        )

    def train_images(self) -> dict[str, Tensor]:
        """The packed training images (data.pixels.pack_pixels) that rays are drawn from now, read if they have not
        been. Raises InputError where one cannot be read."""
        loader: Any = self.train_image_dataloader
        return loader.batch()

    def next_train(self, step: int) -> tuple[RayBundle, dict[str, Tensor]]:
        """The rays of a step and what they saw: a part of those that were drawn for several steps at once.

        A batch of some hundred rays costs nearly as much as one of some thousand, by the many small operations that
        undistort them.
        """
        sampler, loader = self.train_pixel_sampler, self.train_image_dataloader
        if not isinstance(sampler, AreaPixelSampler) or not isinstance(loader, PixelLoader) or not loader.has_all:
            return super().next_train(step)
        self.train_count += 1
        patch = sampler.patch_size**2
        num_rays = max(1, sampler.num_rays_per_batch // patch) * patch
        if self._drawn is None or self._used + num_rays > len(self._drawn[0]):
            batch = sampler.sample(self.train_images(), _STEPS_AT_ONCE * num_rays)
            self._drawn, self._used = (self.train_ray_generator(batch["indices"]), batch), 0
        rays, batch = self._drawn
        part = slice(self._used, self._used + num_rays)
        self._used += num_rays
        return rays[part], {name: value[part] for name, value in batch.items()}

    def _get_pixel_sampler(self, dataset: MultiScaleDataset, num_rays_per_batch: int) -> PixelSampler:
        sampler = AreaPixelSampler(self.config.pixel_sampler, num_rays_per_batch=num_rays_per_batch)
        sampler.patch_size = self.config.patch_size
        if dataset is self.train_dataset:
            sampler.least_foreground = self.config.least_foreground
        return sampler


def images_fit(dataset: MultiScaleDataset, device: torch.device) -> bool:
    """Whether a dataset's images take less than half of the free memory of a CUDA device: at most four bytes per pixel,
    and two numbers of which pixels to draw from."""
    pixels = int((dataset.cameras.width.long() * dataset.cameras.height.long()).sum())
    return 12 * pixels < torch.cuda.mem_get_info(device)[0] / 2
