"""Pipelines that run distributed on any device, and one that keeps the number of samples per step constant."""

from __future__ import annotations

import gc
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
import torch.distributed as dist
from nerfstudio.cameras.cameras import Cameras, CameraType
from nerfstudio.data.datamanagers.base_datamanager import VanillaDataManager
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackAttributes, TrainingCallbackLocation
from nerfstudio.models.base_model import Model
from nerfstudio.pipelines.base_pipeline import VanillaPipeline, VanillaPipelineConfig
from nerfstudio.utils.rich_utils import CONSOLE
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from eugen_fields.data.pixels import silhouettes
from eugen_fields.errors import InputError, report_uncaught_input_errors
from eugen_fields.models.protocols import ModelFlags
from eugen_fields.models.radiance import RadianceModel, RadianceModelConfig
from eugen_fields.runs.checkpoints import DENSE_START
from eugen_fields.sampling import OccupancyGrid, visual_hull
from eugen_fields.training.data_manager import FieldDataManager, FieldDataManagerConfig
from eugen_fields.training.dense_start import describe, fit_trunks, renew_trunks

_MOST_SILHOUETTES = 100
_MIN_NUM_RAYS = 40
"""Fewest rays per batch: steps with fewer are so noisy that training can end in fog."""


class SharedWeightsPipeline(VanillaPipeline):
    """Data and model, on one device or on several; checkpoints do not depend on how many there were.

    Attributes:
        in_dense_start: whether the networks are those of the dense start of a training.
    """

    datamanager: VanillaDataManager

    def __init__(
        self,
        config: VanillaPipelineConfig,
        device: str,
        test_mode: Literal["test", "val", "inference"] = "val",
        world_size: int = 1,
        local_rank: int = 0,
        grad_scaler: Any = None,
    ) -> None:
        report_uncaught_input_errors()  # ns-eval and its like construct this first
        # nerfstudio wraps the model for CUDA alone, so it is told of one process and the wrapping is done here
        super().__init__(config, device, test_mode, world_size=1, local_rank=0, grad_scaler=grad_scaler)
        self.world_size = world_size
        self._device_ids = [local_rank] if torch.device(device).type == "cuda" else None
        self.in_dense_start = typing.cast(ModelFlags, config.model).starts_dense
        if self.in_dense_start:
            renew_trunks(self.model, dense=True)
        self._wrap()

    def _wrap(self) -> None:
        """Has several processes train the parameters that the model has now, from the values of the first one."""
        if self.world_size == 1:
            return
        self._model = self.model
        gc.collect()  # an earlier wrapper, whose hooks would average gradients once more
        wrapped = DistributedDataParallel(self._model, device_ids=self._device_ids, find_unused_parameters=True)
        self._model = typing.cast(Model, wrapped)
        dist.barrier(device_ids=self._device_ids)

    def end_dense_start(self, step: int) -> str:
        """Fits layers of the kind that the options ask for to the dense ones, and puts them in their place.

        Returns:
            a sentence that says what happened.

        Raises:
            InputError: no fit is found.
        """
        fitted = fit_trunks(self.model, lambda: self.datamanager.next_train(step)[0], step)
        self.in_dense_start = False
        self._wrap()
        return describe(fitted, step)

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """The same names whether the model is wrapped for several processes or not, so that any run opens anywhere.
        DENSE_START is among them where the networks are those of the dense start."""
        state = super().state_dict(*args, **kwargs)
        state = {name.replace("_model.module.", "_model.", 1): value for name, value in state.items()}
        return state | ({DENSE_START: True} if self.in_dense_start else {})

    def prepare_start(self) -> None:
        """What a new training, not a resumed one, does before its first step."""

    def load_pipeline(self, loaded_state: dict[str, Any], step: int) -> None:
        """Loads a checkpoint's weights into the model, wrapped or not, whose networks are those of the dense start
        where the checkpoint's are.

        Raises:
            RuntimeError: the weights do not fit.
            InputError: they are those of a dense start, for which the options do not ask.
        """
        dense = bool(loaded_state.get(DENSE_START))
        if dense and not typing.cast(ModelFlags, self.config.model).starts_dense:
            raise InputError(
                f"the checkpoint of step {step} is from the dense start of a training. Give the "
                "--pipeline.model.dense-start and --pipeline.model.layer that it was trained with."
            )
        if dense != self.in_dense_start:
            renew_trunks(self.model, dense)
            self.in_dense_start = dense
            self._wrap()
        self.model.update_to_step(step)
        weights = {name: value for name, value in loaded_state.items() if name.startswith("_model.")}
        self.model.load_state_dict({name.removeprefix("_model."): value for name, value in weights.items()})


@dataclass
class FieldPipelineConfig(VanillaPipelineConfig):
    """Data and model of a field of density and colour, with a budget of samples per step."""

    _target: type = field(default_factory=lambda: FieldPipeline)
    target_num_samples: int = 1 << 18
    """Samples per training step. The number of rays follows from it, since most of space turns out to be empty."""
    max_num_rays: int = 1 << 14
    """Largest number of rays per training step."""


def carve_grid(grid: OccupancyGrid, batch: dict[str, Tensor], cameras: Cameras) -> float | None:
    """Restricts a grid to the visual hull of images with alpha.

    Args:
        batch: packed images, of pack_pixels.
        cameras: of all images of the dataset.

    Returns:
        the share of the grid that is left, 0 to 1; None where nothing was done: images without alpha, cameras that are
        distorted or not perspective, or silhouettes that leave nothing.
    """
    shown = silhouettes(batch)
    indices = batch["image_idx"].cpu()
    chosen = cameras[indices]
    perspective = bool((chosen.camera_type == CameraType.PERSPECTIVE.value).all())
    distorted = chosen.distortion_params is not None and bool(chosen.distortion_params.any())
    if shown is None or not perspective or distorted:
        return None
    device = grid.aabb.device
    some = torch.linspace(0, len(shown) - 1, min(len(shown), _MOST_SILHOUETTES)).long()
    intrinsics = torch.cat([chosen.fx, chosen.fy, chosen.cx, chosen.cy], dim=-1)[some]
    inside = visual_hull(
        grid.cell_centers(),
        float(grid.cell_size().norm()) / 2,
        [shown[index].to(device) for index in some.tolist()],
        intrinsics,
        chosen.camera_to_worlds[some].to(device),
    )
    if not bool(inside.any()):
        return None
    grid.restrict(inside)
    return float(inside.float().mean())


class FieldPipeline(SharedWeightsPipeline):
    """Adapts the rays of each batch so that the number of occupied samples stays near the target."""

    config: FieldPipelineConfig
    datamanager: FieldDataManager

    def __init__(self, config: FieldPipelineConfig, *args: Any, **kwargs: Any) -> None:
        # the first batch knows no empty space: its rays are those that the target allows where all is occupied
        model, manager = config.model, config.datamanager
        assert isinstance(model, RadianceModelConfig) and isinstance(manager, FieldDataManagerConfig)
        per_ray = model.max_samples_per_ray()
        manager.train_num_rays_per_batch = max(_MIN_NUM_RAYS, config.target_num_samples // per_ray)
        super().__init__(config, *args, **kwargs)
        self.first_num_rays = manager.train_num_rays_per_batch

    @property
    def field_model(self) -> RadianceModel:
        assert isinstance(self.model, RadianceModel)
        return self.model

    def prepare_start(self) -> None:
        """What a new training does before its first step: it reads the images, and carves the occupancy grid by their
        silhouettes, where it can."""
        grid, config = self.field_model.grid, self.field_model.config
        batch = self.datamanager.train_images()
        if grid is None or not config.visual_hull:
            return
        share = carve_grid(grid, batch, self.datamanager.train_dataset.cameras)
        if share is not None:
            CONSOLE.print(f"The silhouettes of the training images leave {100 * share:.1f} % of the scene box.")

    def get_training_callbacks(
        self, training_callback_attributes: TrainingCallbackAttributes
    ) -> list[TrainingCallback]:
        callbacks = super().get_training_callbacks(training_callback_attributes)
        if self.field_model.grid is None:
            return callbacks
        update = TrainingCallback(
            where_to_run=[TrainingCallbackLocation.AFTER_TRAIN_ITERATION],
            update_every_num_iters=self.field_model.config.grid_update_interval,
            func=self._update_grid,
        )
        return [*callbacks, update]

    def _update_grid(self, step: int) -> None:
        """Refreshes the occupancy grid. Where all of space is sampled again, the next batch has the rays of the first
        one: as many as lately would be too many samples for the memory."""
        sampler = self.datamanager.train_pixel_sampler
        if self.field_model.update_grid(step) and sampler is not None:
            sampler.set_num_rays_per_batch(self.first_num_rays)

    def get_eval_image_metrics_and_images(self, step: int) -> tuple[dict[str, Any], dict[str, Any]]:
        with self.field_model.without_normals():
            return super().get_eval_image_metrics_and_images(step)

    def get_average_eval_image_metrics(
        self, step: int | None = None, output_path: Path | None = None, get_std: bool = False
    ) -> dict[str, Any]:
        """Scores of all test views, and the size at which they were scored; a line says it too."""
        with self.field_model.without_normals():
            metrics = super().get_average_eval_image_metrics(step, output_path, get_std)
        views = self.datamanager.scored_views
        CONSOLE.print(f"{views.summary()} {self._how_to_score_in_full()}".strip())
        return metrics | views.sizes()

    def _how_to_score_in_full(self) -> str:
        limit = self.datamanager.config.eval_pixels
        if bool((self.datamanager.scored_views.factors == 1).all()):
            return ""
        return f"In a copy of config.yml, eval_pixels: 0 in place of {limit} scores all pixels."

    def get_train_loss_dict(self, step: int) -> tuple[Any, dict[str, Any], dict[str, Any]]:
        sampler = self.datamanager.train_pixel_sampler
        outputs, losses, metrics = super().get_train_loss_dict(step)
        if sampler is not None and "num_samples_per_batch" in metrics:
            rays = sampler.num_rays_per_batch
            per_ray = max(1, int(metrics["num_samples_per_batch"])) / rays
            wanted = self.config.target_num_samples / per_ray
            # half way to the wanted number: one odd batch must not swing the next
            sampler.set_num_rays_per_batch(max(_MIN_NUM_RAYS, min(self.config.max_num_rays, int((rays + wanted) / 2))))
        return outputs, losses, metrics
