"""Trains a method on a scene and scores it: shared by the demo, the benchmark and the checks against collapse."""

from __future__ import annotations

import copy
import math
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from nerfstudio.data.dataparsers.colmap_dataparser import ColmapDataParserConfig
from nerfstudio.data.dataparsers.nerfstudio_dataparser import NerfstudioDataParserConfig
from nerfstudio.engine.trainer import Trainer, TrainerConfig
from tqdm import tqdm

from eugen_fields.data.scenes.kinds import scene_kind
from eugen_fields.errors import InputError
from eugen_fields.mapping.trainer import MappingTrainer
from eugen_fields.methods import METHODS
from eugen_fields.models import summary
from eugen_fields.models.metrics import psnr
from eugen_fields.models.radiance import RadianceModel
from eugen_fields.runs.place import numbered_name
from eugen_fields.training.data_manager import FieldDataManagerConfig
from eugen_fields.training.trainer import FieldTrainer, FieldTrainerConfig

UNLIMITED = (1 << 31) - 1
"""Steps of a run that something else ends, or between evaluations that are not wanted."""


def make_config(
    method: str,
    scene: Path,
    output: Path,
    *,
    layer: str | None = None,
    steps: int | None = None,
    seed: int = 42,
    viewer: bool = False,
    num_scales: int = 1,
    scale_factor: float = 1.0,
    model_options: dict[str, Any] | None = None,
) -> FieldTrainerConfig:
    """The configuration of one training run that writes below `output`.

    Args:
        method: a key of METHODS.
        scene: folder in the Blender-synthetic layout, or with a transforms.json or a COLMAP model, or of a depth
            stream.
        output: the run goes to output/<scene>/<method>/<layer>-seed<seed>.
        layer, steps: None keeps the method's own.
        seed: of every random number in the run.
        viewer: serve nerfstudio's viewer while training.
        num_scales: train and score on images at full size, 1/2, 1/4, ...: so many sizes. Not for depth streams.
        scale_factor: full size, as a share of the size of the files. Not for depth streams.
        model_options: further fields of the method's model config.

    Raises:
        InputError: unknown method or option, or a folder that is no scene.
    """
    if method not in METHODS:
        raise InputError(f"there is no method {method!r}; there are {', '.join(METHODS)}.")
    config = copy.deepcopy(METHODS[method])
    options = dict(model_options or {})
    if layer is not None:
        options["layer"] = layer
    for name, value in options.items():
        if not hasattr(config.pipeline.model, name):
            raise InputError(f"{method} has no model option {name!r}.")
        setattr(config.pipeline.model, name, value)
    config.data = config.pipeline.datamanager.data = Path(scene)
    manager = config.pipeline.datamanager
    if isinstance(manager, FieldDataManagerConfig):
        kind = scene_kind(Path(scene)) if Path(scene).is_dir() else None
        if kind is not None and kind.colmap_path is not None:
            manager.dataparser = ColmapDataParserConfig(colmap_path=kind.colmap_path)
        elif kind is not None and kind.name != "object" and (Path(scene) / "transforms.json").is_file():
            manager.dataparser = NerfstudioDataParserConfig()
        manager.num_scales = num_scales
        manager.camera_res_scale_factor = scale_factor
    config.output_dir = Path(output)
    config.timestamp = f"{config.pipeline.model.layer}-seed{seed}"  # type: ignore[attr-defined]
    config.machine.seed = seed
    config.vis = "viewer+tensorboard" if viewer else "tensorboard"
    config.viewer.quit_on_train_completion = True
    config.logging.local_writer.enable = False
    if steps is not None:
        config.max_num_iterations = steps
    return config


def set_up(config: TrainerConfig) -> Trainer:
    """The trainer of a new run, of any method, ready for its first step: seeded, and in a folder of its own."""
    config.timestamp = numbered_name(config.timestamp, config.get_base_dir().parent)
    config.save_config()
    random.seed(config.machine.seed)
    np.random.seed(config.machine.seed)
    torch.manual_seed(config.machine.seed)
    trainer: Trainer = config.setup(local_rank=0, world_size=1)
    trainer.setup(test_mode="test")
    return trainer


def train_run(
    config: FieldTrainerConfig, *, progress: bool = True, started: Callable[[FieldTrainer], None] | None = None
) -> tuple[FieldTrainer, float]:
    """Checks the input, trains, and returns the trainer and the seconds that training itself took. Where there is a run
    of that name already, this one's name ends in -2, -3, ....

    Evaluation views are those of the test split. The progress line shows a running PSNR of the training batches, or the
    frame that a depth stream has come to.

    Args:
        started: called with the trainer before its first step.
    """
    trainer = cast(FieldTrainer, set_up(config))
    total = None if config.max_num_iterations == UNLIMITED else config.max_num_iterations
    bar = tqdm(total=total, desc="Training", unit="step", disable=not progress)
    postfix = _StreamProgress(trainer) if isinstance(trainer, MappingTrainer) else _RunningPSNR()
    one_step = trainer.train_iteration

    def counted_step(step: int) -> Any:
        result = one_step(step)
        bar.update(1)
        if step % 10 == 0:
            bar.set_postfix_str(postfix(trainer.step_metrics))
        return result

    trainer.train_iteration = counted_step
    if started is not None:
        started(trainer)
    start = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - start
    bar.close()
    return trainer, seconds


def radiance_model(trainer: FieldTrainer) -> RadianceModel:
    """The model of a run in one process."""
    return cast(RadianceModel, trainer.pipeline.model)


class _RunningPSNR:
    """The PSNR of about the last hundred batches, as text, from the metrics of every tenth."""

    def __init__(self) -> None:
        self._mse = float("nan")

    def __call__(self, metrics: dict[str, Any]) -> str:
        mse = 10.0 ** (-float(metrics["psnr"]) / 10.0)
        self._mse = mse if math.isnan(self._mse) else 0.9 * self._mse + 0.1 * mse
        return f"PSNR {-10.0 * math.log10(self._mse):.2f} dB"


class _StreamProgress:
    """How far a depth stream has come, as text."""

    def __init__(self, trainer: MappingTrainer) -> None:
        self._clock = trainer.pipeline.datamanager.clock

    def __call__(self, metrics: dict[str, Any]) -> str:
        clock = self._clock
        return f"frame {clock.current + 1} of {len(clock)}, {len(clock.keyframes)} keyframes"


def chosen_views(count: int, views: int) -> set[int]:
    """Indices of so many of `count` test views, evenly spread; 0 takes all."""
    return set(range(count)) if views <= 0 else {round(i * count / views) for i in range(min(views, count))}


def score_run(trainer: FieldTrainer, *, views: int = 0, progress: bool = True) -> dict[str, Any]:
    """`score_model` of a run's model, on the test views of its scene."""
    trainer.pipeline.eval()
    loader = trainer.pipeline.datamanager.fixed_indices_eval_dataloader
    return score_model(radiance_model(trainer), loader, views=views, progress=progress)


def score_model(model: RadianceModel, loader: Any, *, views: int = 0, progress: bool = True) -> dict[str, Any]:
    """PSNR and SSIM of test views and their means.

    Args:
        model: in evaluation mode.
        loader: nerfstudio's loader of the test views.
        views: so many test views, evenly spread; 0 takes all.

    Returns:
        psnr, ssim: means over the test views; views: the same for each; empty_psnr: mean PSNR that a render of the
        background alone would have, the mark of a collapsed run; opacity, fog: mean accumulated opacity of what the
        test images show, and of the background around it (0 for images without alpha, which show no background).
        Where images have several scales, psnr_by_scale and ssim_by_scale: the means at full size, 1/2, ....
    """
    found = []
    indices = sorted(chosen_views(len(loader), views))
    for index in tqdm(indices, desc="Rendering test views", unit="view", disable=not progress):
        camera, batch = loader.get_camera(index)
        outputs = model.get_outputs_for_camera(camera)
        metrics, _ = model.get_image_metrics_and_images(outputs, batch)
        background = model.eval_background()
        truth = model.blend(batch["image"].to(background.device), background)
        empty = psnr(background.expand_as(truth), truth)
        scores = {name: float(value) for name, value in metrics.items()} | {"empty_psnr": float(empty)}
        scores |= opacities(outputs["accumulation"], batch["image"].to(background.device))
        found.append(scores | {"scale": int(batch["scale"])})
    scores = {name: _mean(found, name) for name in found[0] if name != "scale"}
    scales = sorted({view["scale"] for view in found})
    if len(scales) > 1:
        of_scale = [[view for view in found if view["scale"] == scale] for scale in scales]
        scores |= {f"{name}_by_scale": [_mean(group, name) for group in of_scale] for name in ("psnr", "ssim")}
    return scores | {"views": found}


def opacities(accumulation: torch.Tensor, image: torch.Tensor) -> dict[str, float]:
    """Mean accumulated opacity (H, W, 1) of what an image (H, W, 3 or 4) shows, weighted by its alpha, and of the
    background around it, weighted by 1 - alpha; 0 where there is none."""
    shown = image[..., 3:] if image.shape[-1] == 4 else torch.ones_like(accumulation)
    weights = {"opacity": shown, "fog": 1.0 - shown}
    return {
        name: float((accumulation * weight).sum() / weight.sum().clamp(min=1e-6)) for name, weight in weights.items()
    }


def _mean(views: list[dict[str, Any]], name: str) -> float:
    return float(np.mean([view[name] for view in views]))


def multiplications(trainer: FieldTrainer) -> int:
    """Multiplications of the folded network for one sample: trunk and colour head, without proposals and encodings."""
    return summary.multiplications(radiance_model(trainer).field)


def parameter_count(trainer: FieldTrainer) -> int:
    """Trainable parameters of the networks, planes and proposals included."""
    networks = radiance_model(trainer).networks().values()
    return sum(parameter.numel() for network in networks for parameter in network.parameters())


def layer_bytes(trainer: FieldTrainer) -> int:
    """Bytes that the replaced layers take in a checkpoint (fixed random matrices are not stored)."""
    trunk = radiance_model(trainer).field.trunk
    states = (trunk.layers[index].state_dict() for index in trunk.replace)
    return sum(value.numel() * value.element_size() for state in states for value in state.values())


def stored_bytes(trainer: FieldTrainer) -> int:
    """Bytes that the field takes in a checkpoint."""
    return summary.stored_bytes(radiance_model(trainer).field)
