"""A small run on disk, as training leaves one, for tests that open runs (`pytest_plugins = "support.run_fixture"`)."""

import copy
import json
import shutil

import pytest
import torch
import torch.nn.functional as F
import yaml

RADIUS = 0.5
CENTER = (0.2, -0.1, 0.0)
TRANSFORM = [[0.0, -1.0, 0.0, 0.5], [1.0, 0.0, 0.0, -0.25], [0.0, 0.0, 1.0, 1.0]]
SCALE = 0.5
SETTINGS = {
    "num_features": 8,
    "num_layers": 2,
    "layer_width": 32,
    "feature_dim": 16,
    "color_width": 16,
    "position_frequencies": 2,
    "skip_connections": (),
    "samples_per_diagonal": 128,
    "grid_resolution": 16,
}


def fit_sphere(field, steps=250):
    """Teaches a field a solid sphere whose colour is its outward normal mapped to [0, 1]."""
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(field.parameters(), lr=1e-2)
    for step in range(steps):
        positions = torch.rand(1024, 3, generator=generator) * 2.0 - 1.0
        offset = positions - torch.tensor(CENTER)
        distance = offset.norm(dim=-1, keepdim=True)
        density, color = field(positions, F.normalize(torch.randn(1024, 3, generator=generator), dim=-1))
        truth = 0.01 + 40.0 * torch.sigmoid((RADIUS - distance[:, 0]) / 0.05)
        loss = 0.1 * F.mse_loss(density.log(), truth.log()) + F.mse_loss(color, 0.5 + 0.5 * offset / distance)
        for group in optimizer.param_groups:
            group["lr"] = 1e-2 * (1.0 - step / steps)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@pytest.fixture(scope="session")
def saved_sphere_run(tmp_path_factory):
    """The run that `sphere_run` copies; not to be changed."""
    from eugen_fields.methods import eugen_nerf_tiny
    from eugen_fields.models.nerf import NeRFModelConfig
    from eugen_fields.sampling import OccupancyGrid

    config = copy.deepcopy(eugen_nerf_tiny.config)
    config.pipeline.model = model = NeRFModelConfig(**SETTINGS)
    torch.manual_seed(0)
    aabb = torch.tensor([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]])
    field = model.build_field(aabb)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # several threads only wait for each other in a network this small
    fit_sphere(field)
    torch.set_num_threads(threads)
    grid = OccupancyGrid(aabb, model.grid_resolution, float((aabb[1] - aabb[0]).norm()) / model.samples_per_diagonal)
    grid.update(lambda points: field.density(points)[0], 1 << 20, torch.Generator().manual_seed(0))

    folder = tmp_path_factory.mktemp("saved_run")
    checkpoints = folder / "nerfstudio_models"
    checkpoints.mkdir()
    parts = {"_model.field.": field, "_model.grid.": grid}
    weights = {prefix + name: value for prefix, part in parts.items() for name, value in part.state_dict().items()}
    for step in (100, 200):
        torch.save({"step": step, "pipeline": weights}, checkpoints / f"step-{step:09d}.ckpt")
    (folder / "config.yml").write_text(yaml.dump(config), encoding="utf-8")
    transforms = {"transform": TRANSFORM, "scale": SCALE}
    (folder / "dataparser_transforms.json").write_text(json.dumps(transforms), encoding="utf-8")
    return folder


@pytest.fixture
def sphere_run(saved_sphere_run, tmp_path):
    """Folder of a run (steps 100 and 200) to change freely: a sphere; scene = SCALE * (TRANSFORM world)."""
    folder = tmp_path / "outputs" / "scene" / "eugen-nerf-tiny" / "2026-01-01_000000"
    shutil.copytree(saved_sphere_run, folder)
    return folder
