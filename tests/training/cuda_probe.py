"""Trains every family of methods for five steps, and scores one view, on the CUDA device that is not there.

Prints a line of JSON for each: operations, synchronisations and uploads of each step, and where the latter were.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from nerfstudio.cameras.camera_optimizers import CameraOptimizerConfig
from support import fake_cuda
from support.depth_recordings import write_transforms
from support.helpers import write_capture_scene, write_sphere_scene

from eugen_fields.benchmark.quality.train import UNLIMITED, make_config, train_run

STEPS = 5
_GRID: dict[str, Any] = {"samples_per_diagonal": 24, "grid_resolution": 12, "grid_warmup_steps": 1}
_CHUNKS: dict[str, Any] = {"eval_num_rays_per_chunk": 64, "eval_num_samples_per_chunk": 512}
_SMALL: dict[str, Any] = {"num_layers": 3, "layer_width": 32, "num_features": 8}
_CONES = _SMALL | _GRID | _CHUNKS | {"proposal_samples": (16,), "num_samples": 8, "anneal_steps": 3, "color_width": 16}
_NERF = _SMALL | _GRID | _CHUNKS | {"feature_dim": 16, "color_width": 16}
FAMILIES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "nerf": ("eugen-nerf", "sphere", _NERF | {"skip_connections": (2,)}),
    "nerf tiny": ("eugen-nerf-tiny", "sphere", _NERF),
    "mipnerf": ("eugen-mipnerf", "sphere", _CONES | {"feature_dim": 16, "skip_connections": (2,)}),
    "mipnerf tiny": ("eugen-mipnerf-tiny", "sphere", _CONES | {"feature_dim": 16}),
    "mipnerf unbounded": ("eugen-mipnerf-tiny", "capture", _CONES | {"feature_dim": 16, "appearance_dim": 4}),
    "planes": (
        "eugen-planes-tiny",
        "sphere",
        _GRID | _CHUNKS | {"plane_resolutions": (8, 16), "proposal_resolutions": (8,), "proposal_samples": (16,)},
    ),
    "isdf": ("eugen-isdf-tiny", "stream", {"layer_width": 32, "num_features": 16, "eval_num_rays_per_chunk": 512}),
}
"""Method, scene and model options of each family."""


def bent(scene: Path) -> Path:
    """A capture whose lens distorts."""
    path = scene / "transforms.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"k1": 0.05, "p1": 0.001}))
    return scene


def probe(name: str, folder: Path) -> dict[str, Any]:
    """Trains one family and scores a view of it; what each step cost."""
    method, scene, options = FAMILIES[name]
    write: dict[str, Any] = {
        "sphere": lambda place: write_sphere_scene(place, size=12, train=5, test=1),
        "capture": lambda place: bent(write_capture_scene(place, size=12)),
        "stream": lambda place: write_transforms(place, count=4),
    }
    data = folder / scene if (folder / scene).exists() else write[scene](folder / scene)
    if scene == "capture":
        options = options | {"camera_optimizer": CameraOptimizerConfig(mode="SO3xR3")}
    config = make_config(method, data, folder / name, steps=STEPS, model_options=options | {"backend": "torch"})
    config.machine.device_type = "cuda"
    config.steps_per_eval_batch = config.steps_per_eval_image = UNLIMITED
    pipeline: Any = config.pipeline
    if scene == "stream":
        pipeline.datamanager.rays_per_frame, pipeline.datamanager.cloud_points = 8, 64
        pipeline.datamanager.first_frame_steps, pipeline.datamanager.steps_per_frame = 2, 3
    else:
        pipeline.target_num_samples, pipeline.max_num_rays = 1024, 64
    found: dict[str, Any] = {"name": name, "steps": [], "where": {}}

    def started(trainer: Any) -> None:
        step_of = trainer.train_iteration

        def measured(step: int) -> Any:
            fake_cuda.reset()
            result = step_of(step)
            counts = fake_cuda.reset()
            found["steps"].append(counts.numbers())
            found["where"] = {"synchronisations": counts.synchronisations, "uploads": counts.uploads}
            return result

        trainer.train_iteration = measured

    trainer, _ = train_run(config, progress=False, started=started)
    fake_cuda.reset()
    metrics, _ = trainer.pipeline.get_eval_image_metrics_and_images(STEPS)
    found["view"] = fake_cuda.reset().numbers()
    found["metrics"] = {key: float(value) for key, value in metrics.items()}
    return found


if __name__ == "__main__":
    with fake_cuda.fake_cuda():
        for family in sys.argv[2:] or FAMILIES:
            print("probe " + json.dumps(probe(family, Path(sys.argv[1]))), flush=True)
    os._exit(0)  # autograd's thread of the device would end in the midst of C++ as the interpreter does
