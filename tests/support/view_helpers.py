"""Small runs of every family on disk, without training, for the tests of what shows them."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import torch
import yaml
from nerfstudio.cameras.cameras import Cameras, CameraType

from support.helpers import look_at_origin

BOX = torch.tensor([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]])
SMALL = {"num_layers": 2, "layer_width": 32, "num_features": 8, "skip_connections": ()}
RADIANCE = {
    "feature_dim": 16,
    "color_width": 16,
    "position_frequencies": 3,
    "samples_per_diagonal": 64,
    "grid_resolution": 16,
}


def camera(azimuth: float = 0.4, width: int = 24, height: int = 18) -> Cameras:
    """One camera that looks at the origin."""
    pose = torch.from_numpy(look_at_origin(azimuth, 0.3, 3.0)[:3]).float()
    return Cameras(pose[None], 20.0, 20.0, width / 2, height / 2, width, height, camera_type=CameraType.PERSPECTIVE)


CAMERA = camera()


def model_config(kind: str):
    """Settings of a network of a few thousand parameters: nerf, mipnerf, planes (both bounded) or isdf."""
    from eugen_fields.models.isdf import ISDFModelConfig
    from eugen_fields.models.mipnerf import MipNeRFModelConfig
    from eugen_fields.models.nerf import NeRFModelConfig
    from eugen_fields.models.planes import PlanesModelConfig

    if kind == "nerf":
        return NeRFModelConfig(**SMALL, **RADIANCE)
    if kind == "mipnerf":
        return MipNeRFModelConfig(
            **SMALL, **RADIANCE, size="tiny", regime="bounded", proposal_samples=(16,), num_samples=12
        )
    if kind == "planes":
        options = SMALL | RADIANCE | {"position_frequencies": 0, "proposal_samples": (16,), "num_samples": 12}
        return PlanesModelConfig(
            **options, size="tiny", regime="bounded", plane_resolutions=(8, 16), proposal_resolutions=(8,)
        )
    return ISDFModelConfig(**SMALL, position_scale=0.3, activation="relu", feature_activation="relu")


def write_run(
    folder: Path, kind: str = "nerf", steps: tuple[int, ...] = (100,), seed: int = 0, data: Path | None = None
) -> Path:
    """A run whose field is taught a sphere of radius 0.6 around the origin for a moment, saved as training would.

    Args:
        folder: of the run, made here.
        kind: nerf, mipnerf, planes or isdf.
        steps: of its checkpoints, all alike.
        seed: of its weights.
        data: a Blender scene that it says it was trained on.
    """
    from eugen_fields.methods import METHODS

    method = f"eugen-{kind}-tiny"
    config = copy.deepcopy(METHODS[method])
    config.pipeline.model = model_config(kind)
    config.data = config.pipeline.datamanager.data = data  # type: ignore[attr-defined]
    torch.manual_seed(seed)
    from nerfstudio.data.scene_box import SceneBox

    model = copy.deepcopy(config.pipeline.model).setup(scene_box=SceneBox(BOX), num_train_data=3)
    _teach(model, kind)
    if kind != "isdf":
        model.grid.fill(lambda points: _density(model.field, points))
    (folder / "nerfstudio_models").mkdir(parents=True)
    for step in steps:
        save(folder, model, step)
    (folder / "config.yml").write_text(yaml.dump(config), encoding="utf-8")
    identity = {"transform": torch.eye(4)[:3].tolist(), "scale": 1.0}
    (folder / "dataparser_transforms.json").write_text(json.dumps(identity), encoding="utf-8")
    return folder


def save(folder: Path, model: torch.nn.Module, step: int) -> None:
    """A checkpoint, written beside and moved into place."""
    weights = {f"_model.{name}": value for name, value in model.state_dict().items()}
    path = folder / "nerfstudio_models" / f"step-{step:09d}.ckpt"
    torch.save({"step": step, "pipeline": weights}, path.with_suffix(".part"))
    path.with_suffix(".part").rename(path)


def _density(field, points):
    """Of any kind of field, (N,): where it reads cones, of such as have no width."""
    return field.density(points, *_no_spreads(field, points))[0]


def _no_spreads(field, points):
    if not hasattr(field, "bounded"):
        return ()
    return (torch.zeros_like(field.point_spreads(len(points))),)


def _teach(model, kind: str, steps: int = 120) -> None:
    """Colours are positions; the solid inside is dense, or has a negative distance."""
    parameters = [value for value in model.parameters() if value.requires_grad]
    optimizer = torch.optim.Adam(parameters, lr=1e-2)
    directions = torch.nn.functional.normalize(torch.ones(512, 3), dim=-1)
    for _ in range(steps):
        points = 2.0 * torch.rand(512, 3) - 1.0
        distance = points.norm(dim=-1) - 0.6
        if kind == "isdf":
            loss = (model.field.sdf(points) - distance).abs().mean()
        else:
            goal = 0.01 + 40.0 * torch.sigmoid(-distance / 0.05)
            extra = _no_spreads(model.field, points)
            density, features = model.field.density(points, *extra)
            color = model.field.color(features, directions)
            loss = 0.1 * (density.log() - goal.log()).square().mean() + (color - (points + 1) / 2).square().mean()
            if extra:
                loss = loss + 0.1 * (model.proposal.density(points, *extra)[0].log() - goal.log()).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
