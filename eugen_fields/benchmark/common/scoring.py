"""Scores any field on the test views of a finished run's scene."""

from __future__ import annotations

import copy
import time
from pathlib import Path
from typing import Any

import torch
from nerfstudio.data.scene_box import SceneBox
from tqdm import tqdm

from eugen_fields.benchmark.quality.train import chosen_views
from eugen_fields.data.checks import check_scene
from eugen_fields.fields import RadianceField
from eugen_fields.runs import RadianceRun
from eugen_fields.runs.scene import find_scene
from eugen_fields.training.trainer import FieldTrainerConfig


def scene_data(folder: Path, config: FieldTrainerConfig, device: torch.device | str) -> Any:
    """The data manager of the run in a folder, with its training and test views. Raises InputError where they are not
    there."""
    manager: Any = copy.deepcopy(config.pipeline.datamanager)
    manager.data = find_scene(folder, manager.dataparser, Path(manager.data))
    check_scene(manager.dataparser, manager.data, splits=("train", "test"))
    return manager.setup(device=device, test_mode="test")


class Scorer:
    """Renders the test views of a run's scene with any field.

    Args:
        run: whose occupancy grid says where there is anything.
        config: of the run, for its data and its model.
        views: so many test views, evenly spread; 0 takes all.
    """

    def __init__(self, run: RadianceRun, config: FieldTrainerConfig, views: int) -> None:
        device = run.field.aabb.device
        self.data = scene_data(run.folder, config, device)
        self.model: Any = config.pipeline.model.setup(scene_box=SceneBox(aabb=run.aabb), num_train_data=1, metadata={})
        self.model.grid.load_state_dict(run.grid.state_dict())
        self.model = self.model.to(device).eval()
        self.views = sorted(chosen_views(len(self.data.eval_dataset), views))

    @torch.no_grad()
    def score(self, field: RadianceField, *, own_grid: bool = False) -> dict[str, float]:
        """psnr and ssim: means over the views; render_seconds: time of all renders.

        Args:
            own_grid: find what is occupied from the field itself, as where a file holds nothing but the field and the
                visual hull that it was trained in.
        """
        self.model.field = field
        if own_grid:
            self.model.grid.fill(field.density_alone)
        psnr = ssim = seconds = 0.0
        loader = self.data.fixed_indices_eval_dataloader
        for index in tqdm(self.views, desc="Rendering test views", unit="view"):
            camera, batch = loader.get_camera(index)
            start = time.perf_counter()
            outputs = self.model.get_outputs_for_camera(camera)
            seconds += time.perf_counter() - start
            metrics, _ = self.model.get_image_metrics_and_images(outputs, batch)
            psnr, ssim = psnr + float(metrics["psnr"]), ssim + float(metrics["ssim"])
        count = len(self.views)
        return {"psnr": psnr / count, "ssim": ssim / count, "render_seconds": seconds}
