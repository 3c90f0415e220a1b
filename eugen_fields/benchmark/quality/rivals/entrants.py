"""The methods that race against each other, by name: ours, and those of nerfstudio that run in plain torch."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from nerfstudio.configs.method_configs import method_configs
from nerfstudio.data.datamanagers.base_datamanager import VanillaDataManagerConfig
from nerfstudio.data.dataparsers.blender_dataparser import BlenderDataParserConfig
from nerfstudio.data.dataparsers.nerfstudio_dataparser import NerfstudioDataParserConfig
from nerfstudio.engine.trainer import Trainer, TrainerConfig
from torch import nn
from torchmetrics.image import lpip

from eugen_fields.benchmark.common.contestants import parse_options
from eugen_fields.benchmark.quality import train
from eugen_fields.benchmark.quality.comparison import RadianceMethod
from eugen_fields.errors import InputError
from eugen_fields.models.metrics import psnr
from eugen_fields.models.radiance import RadianceModel

OURS = get_args(RadianceMethod)
OTHERS = ("nerfacto", "vanilla-nerf")
"""Methods of nerfstudio 1.1 that train without CUDA: instant-ngp samples, and gsplat rasterises, by CUDA kernels
alone."""
_BLENDER_NERFACTO = {
    "background_color": "white",
    "proposal_initial_sampler": "uniform",
    "near_plane": 2.0,
    "far_plane": 6.0,
    "use_average_appearance_embedding": False,
    "distortion_loss_mult": 0.0,
    "disable_scene_contraction": True,
}
"""What nerfstudio's documentation tells nerfacto's users to set for Blender scenes."""


def entrant_config(text: str, scene: Path, output: Path, seed: int, device_type: str | None) -> TrainerConfig:
    """The configuration of one method.

    Args:
        text: method, with flags of its model behind colons: eugen-planes-tiny:layer=prp. `rays=341` sets how many rays
            a step of a method of nerfstudio's own takes.

    Raises:
        InputError: an unknown method or flag.
    """
    method, *flags = text.split(":")
    options = parse_options(flags)
    if method in OURS:
        ours = train.make_config(method, scene, output, seed=seed, model_options=options)
        ours.pipeline.datamanager.eval_pixels = 0  # type: ignore[attr-defined]
        config: TrainerConfig = ours
    elif method in OTHERS:
        config = _other(method, scene, output, options)
    else:
        raise InputError(f"--methods {text}: there is no {method}; there are {', '.join((*OURS, *OTHERS))}.")
    config.timestamp = f"{text.replace(':', '-').replace('=', '-')}-seed{seed}"
    config.machine.seed = seed
    config.steps_per_save = train.UNLIMITED
    if device_type is not None:
        config.machine.device_type = device_type  # type: ignore[assignment]
    return config


def _other(method: str, scene: Path, output: Path, options: dict[str, Any]) -> TrainerConfig:
    config: Any = copy.deepcopy(method_configs[method])
    capture = (scene / "transforms.json").exists()
    old = config.pipeline.datamanager
    config.pipeline.datamanager = VanillaDataManagerConfig(  # in this process, whose seconds are counted
        dataparser=NerfstudioDataParserConfig() if capture else BlenderDataParserConfig(),
        train_num_rays_per_batch=options.pop("rays", old.train_num_rays_per_batch),
        data=scene,
    )
    model = config.pipeline.model
    options = ({} if capture or method != "nerfacto" else _BLENDER_NERFACTO) | options
    for name, value in options.items():
        if not hasattr(model, name):
            raise InputError(f"{method} has no model option {name!r}.")
        setattr(model, name, value)
    if hasattr(model, "camera_optimizer"):
        model.camera_optimizer.mode = "off"  # poses of rendered scenes are exact
    if not torch.cuda.is_available():
        config.mixed_precision = False
        if hasattr(model, "implementation"):
            model.implementation = "torch"
        config.machine.device_type = "cpu"
    config.data, config.output_dir, config.vis = scene, output, "tensorboard"
    config.viewer.quit_on_train_completion = True
    config.logging.local_writer.enable = False
    return config


def run_entrant(config: TrainerConfig, started: Callable[[Any], None]) -> Trainer:
    """Trains any method; `started` is called before the first step."""
    if config.method_name in OURS:
        return train.train_run(config, progress=False, started=started)[0]  # type: ignore[arg-type]
    with _without_lpips():
        trainer = train.set_up(config)
    started(trainer)
    trainer.train()
    return trainer


@contextlib.contextmanager
def _without_lpips() -> Iterator[None]:
    """nerfstudio's models download the weights of LPIPS when they are made; nothing here asks for its scores."""
    original = lpip.LearnedPerceptualImagePatchSimilarity
    lpip.LearnedPerceptualImagePatchSimilarity = lambda **_: nn.Identity()  # type: ignore[assignment,misc]
    try:
        yield
    finally:
        lpip.LearnedPerceptualImagePatchSimilarity = original  # type: ignore[misc]


@torch.no_grad()
def mean_psnr(trainer: Trainer, views: int, pixels: int) -> float:
    """Mean PSNR of so many test views (0: all), evenly spread, over white where images have alpha.

    Of views with more than `pixels` pixels, those of a regular grid are rendered: every second, every third, ... of
    both sides, the same for all methods.
    """
    pipeline: Any = trainer.pipeline
    pipeline.eval()
    loader = pipeline.datamanager.fixed_indices_eval_dataloader
    found = []
    for index in sorted(train.chosen_views(len(loader), views)):
        camera, batch = loader.get_camera(index)
        image = batch["image"].to(pipeline.device).float()
        if image.shape[-1] == 4:
            image = image[..., :3] * image[..., 3:] + 1.0 - image[..., 3:]
        every = math.ceil(math.sqrt(image.shape[0] * image.shape[1] / pixels)) or 1
        rays = camera.generate_rays(camera_indices=0, keep_shape=True)[::every, ::every]
        outputs = pipeline.model.get_outputs_for_camera_ray_bundle(rays)
        rgb = outputs["rgb_fine" if "rgb_fine" in outputs else "rgb"].to(image.device)
        found.append(float(psnr(rgb.clamp(0.0, 1.0), image[::every, ::every])))
    return float(np.mean(found))


def parameter_count(trainer: Trainer) -> int:
    """Numbers that a method trains, pose corrections aside."""
    model: Any = trainer.pipeline.model
    if isinstance(model, RadianceModel):
        return train.parameter_count(trainer)  # type: ignore[arg-type]
    groups = model.get_param_groups()
    return sum(p.numel() for name, group in groups.items() if name != "camera_opt" for p in group)
