"""A trained field as the teacher of another one: what it sees along training rays, and rays rendered by both."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.engine.trainer import TrainerConfig
from torch import Tensor, nn

from eugen_fields.data.checks import check_scene
from eugen_fields.data.parsers.choose import set_up_parser
from eugen_fields.fields import RadianceField
from eugen_fields.layers.fitting.finetune import learning_rate_factor
from eugen_fields.models.proposals.config import ProposalModelConfig
from eugen_fields.models.radiance import RadianceModel
from eugen_fields.progress import Progress, counted
from eugen_fields.runs import RadianceRun, build_model
from eugen_fields.runs.scene import find_scene
from eugen_fields.sampling import OccupancyGrid, PackedSamples, accumulate, intersect_box, render_weights, sample_rays


class TrainingRays:
    """Random rays of training cameras, sampled where the occupancy grid finds density. No image is read.

    Args:
        cameras: of the training split.
        grid: of the trained run.
        step_size: length of a sample, scene units.
        near_plane: nothing nearer to a camera is sampled, scene units.
    """

    def __init__(self, cameras: Cameras, grid: OccupancyGrid, step_size: float, near_plane: float) -> None:
        self.cameras = cameras.to(grid.aabb.device)
        self.grid = grid
        self.step_size = step_size
        self.near_plane = near_plane

    def draw(self, num_rays: int, generator: torch.Generator) -> RayBundle:
        """Rays (num_rays,) through random places of random cameras' images."""
        index = torch.randint(len(self.cameras), (num_rays,), generator=generator)
        place = torch.rand(num_rays, 2, generator=generator)
        device = self.grid.aabb.device
        size = torch.stack([self.cameras.height[:, 0], self.cameras.width[:, 0]], dim=-1).cpu()[index]
        coords = (place * size).to(device)
        return self.cameras.generate_rays(camera_indices=index[:, None].to(device), coords=coords)

    def sample(self, num_rays: int, generator: torch.Generator) -> tuple[Tensor, Tensor, PackedSamples]:
        """Positions (N, 3), unit directions (N, 3) and packing of the samples on `num_rays` rays."""
        bundle = self.draw(num_rays, generator)
        near, far = intersect_box(bundle.origins, bundle.directions, self.grid.bounds)
        near = near.clamp(min=self.near_plane)
        samples = sample_rays(bundle.origins, bundle.directions, near, far, self.step_size, self.grid, stratified=False)
        directions = bundle.directions[samples.ray_indices]
        return bundle.origins[samples.ray_indices] + samples.distances[:, None] * directions, directions, samples

    def positions(self, count: int, seed: int) -> Tensor:
        """Sampled positions (count, 3); fewer if one million rays yield too few samples."""
        generator = torch.Generator().manual_seed(seed)
        found: list[Tensor] = []
        for _ in range(1000):
            found.append(self.sample(1024, generator)[0])
            if sum(map(len, found)) >= count:
                break
        positions = torch.cat(found)
        keep = torch.randperm(len(positions), generator=generator)[:count]
        return positions[keep.to(positions.device)]


def training_rays(run: RadianceRun, config: TrainerConfig) -> TrainingRays:
    """Rays of the cameras a run was trained with. Raises InputError where its scene is gone or damaged."""
    manager: Any = config.pipeline.datamanager
    manager.data = find_scene(run.folder, manager.dataparser, Path(manager.data))
    check_scene(manager.dataparser, manager.data, splits=("train",), images=False)
    parser = copy.deepcopy(manager.dataparser)
    parser.data = manager.data
    cameras = set_up_parser(parser).get_dataparser_outputs("train").cameras
    return TrainingRays(cameras, run.grid, run.step_size, run.model_config.near_plane)


def trunk_inputs(run: RadianceRun, rays: TrainingRays, count: int, seed: int) -> Iterable[Tensor]:
    """What the trunk of a run's field reads at about `count` places where training looks: on the rays of training
    cameras where the grid is occupied or, in a run with proposals, where these send the last round of samples."""
    if not isinstance(run.model_config, ProposalModelConfig):
        return TrunkInputs(run.field, rays.positions(count, seed))
    model, generator = build_model(run), torch.Generator().manual_seed(seed)
    assert isinstance(model, RadianceModel)
    found: list[Tensor] = []
    for _ in range(1000):
        found.append(model.trunk_inputs(rays.draw(1024, generator))["field"])
        if sum(map(len, found)) >= count:
            break
    inputs = torch.cat(found)
    keep = torch.randperm(len(inputs), generator=generator)[:count]
    return [inputs[keep.to(inputs.device)]]


class TrunkInputs(Iterable[Tensor]):
    """What the trunk of a field reads at positions (N, 3): encoded anew, batch by batch, each time it is iterated."""

    def __init__(self, field: RadianceField, positions: Tensor, batch_size: int = 1 << 16) -> None:
        self.field = field
        self.positions = positions
        self.batch_size = batch_size

    def __iter__(self) -> Iterator[Tensor]:
        for positions in self.positions.split(self.batch_size):
            yield self.field.encode(positions)


def distill_rays(
    teacher: RadianceField,
    student: RadianceField,
    trained: Sequence[nn.Parameter],
    rays: TrainingRays,
    steps: int,
    *,
    learning_rate: float,
    num_samples: int,
    seed: int,
    progress: Progress = False,
) -> None:
    """Adam on `trained` parameters of the student: squared error between both fields' renders of training rays.

    Both see the same samples, over the same random background colours. No image is read.

    Args:
        num_samples: approximate number of samples per step; the number of rays follows from it.
        progress: as in eugen_fields.progress.
    """
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(trained, lr=learning_rate, betas=(0.9, 0.99), eps=1e-15)
    decay = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: learning_rate_factor(step, steps))
    num_rays = 256
    with counted(progress, "Fine-tuning", steps, "step") as advance:
        for _ in range(steps):
            with torch.no_grad():
                positions, directions, samples = rays.sample(num_rays, generator)
                background = torch.rand(num_rays, 3, generator=generator).to(positions)
                target = _render(teacher, positions, directions, samples, background)
            loss = F.mse_loss(_render(student, positions, directions, samples, background), target)
            for parameter, gradient in zip(trained, torch.autograd.grad(loss, trained)):
                parameter.grad = gradient
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            decay.step()
            num_rays = max(64, min(1 << 15, int(num_rays * min(2.0, num_samples / max(1, len(samples))))))
            advance(1)


def _render(
    field: RadianceField, positions: Tensor, directions: Tensor, samples: PackedSamples, background: Tensor
) -> Tensor:
    """RGB (R, 3) of packed samples over background colours (R, 3)."""
    density, color = field(positions, directions)
    weights = render_weights(density, samples)
    return accumulate(weights, color, samples) + (1.0 - accumulate(weights, None, samples)) * background
