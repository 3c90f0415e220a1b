"""What a trained field sees along rays of its training cameras. No image is read."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.engine.trainer import TrainerConfig
from torch import Tensor

from eugen_fields.data.checks import check_scene
from eugen_fields.data.parsers.choose import set_up_parser
from eugen_fields.fields import RadianceField
from eugen_fields.models.proposals.config import ProposalModelConfig
from eugen_fields.models.radiance import RadianceModel
from eugen_fields.runs import RadianceRun, build_model
from eugen_fields.runs.scene import find_scene
from eugen_fields.sampling import OccupancyGrid, PackedSamples, intersect_box, render_weights, sample_rays


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

    @torch.no_grad()
    def seen(self, field: RadianceField, count: int, seed: int) -> tuple[Tensor, Tensor]:
        """Sampled positions (count, 3) and how much each of them matters (count,), above 0; fewer if one million rays
        yield too few samples.

        A sample matters by its weight in the colour of its ray; and, less, by the share of light that reaches it, since
        density in front of surfaces does harm; what is hidden hardly does.
        """
        generator = torch.Generator().manual_seed(seed)
        found: list[Tensor] = []
        mattering: list[Tensor] = []
        for _ in range(1000):
            positions, directions, samples = self.sample(1024, generator)
            weights = render_weights(field(positions, directions)[0], samples)
            found.append(positions)
            mattering.append(weights + 0.1 * arriving_light(weights, samples) + 0.01)
            if sum(map(len, found)) >= count:
                break
        positions, matters = torch.cat(found), torch.cat(mattering)
        keep = torch.randperm(len(positions), generator=generator)[:count].to(positions.device)
        return positions[keep], matters[keep]


def arriving_light(weights: Tensor, samples: PackedSamples) -> Tensor:
    """Transmittance in front of each sample (N,), from the weights of samples in the colours of their rays (N,)."""
    before = torch.cumsum(weights.double(), dim=0) - weights  # over all rays, of which there are thousands
    starts = torch.cumsum(samples.counts, dim=0) - samples.counts
    of_ray = before[starts.clamp(max=max(0, len(before) - 1))] if len(before) else before.new_zeros(len(starts))
    return (1.0 - (before - of_ray[samples.ray_indices])).clamp(0.0, 1.0).to(weights.dtype)


def training_rays(run: RadianceRun, config: TrainerConfig) -> TrainingRays:
    """Rays of the cameras a run was trained with. Raises InputError where its scene is gone or damaged."""
    manager: Any = config.pipeline.datamanager
    manager.data = find_scene(run.folder, manager.dataparser, Path(manager.data))
    check_scene(manager.dataparser, manager.data, splits=("train",), images=False)
    parser = copy.deepcopy(manager.dataparser)
    parser.data = manager.data
    cameras = set_up_parser(parser).get_dataparser_outputs("train").cameras
    return TrainingRays(cameras, run.grid, run.step_size, run.model_config.near_plane)


class TrunkInputs(Iterable[tuple[Tensor, Tensor]]):
    """What a trunk reads, with weights, batch by batch: encoded anew each time that it is iterated.

    Args:
        values: positions (N, 3), or what else `encode` takes.
        weights: shape (N,), at least 0.
        encode: what the trunk reads of values.
    """

    def __init__(
        self, values: Tensor, weights: Tensor, encode: Callable[[Tensor], Tensor], batch_size: int = 1 << 16
    ) -> None:
        self.values = values
        self.weights = weights
        self.encode = encode
        self.batch_size = batch_size

    def head(self, count: int) -> TrunkInputs:
        """The first of them."""
        return TrunkInputs(self.values[:count], self.weights[:count], self.encode, self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for values, weights in zip(self.values.split(self.batch_size), self.weights.split(self.batch_size)):
            yield self.encode(values), weights


def trunk_inputs(run: RadianceRun, rays: TrainingRays, count: int, seed: int) -> TrunkInputs:
    """What the trunk of a run's field reads at about `count` places where training looks: on the rays of training
    cameras where the grid is occupied, by how much they matter; or, in a run with proposals, where these send the last
    round of samples."""
    if not isinstance(run.model_config, ProposalModelConfig):
        return TrunkInputs(*rays.seen(run.field, count, seed), run.field.encode)
    model, generator = build_model(run), torch.Generator().manual_seed(seed)
    assert isinstance(model, RadianceModel)
    found: list[Tensor] = []
    for _ in range(1000):
        found.append(model.trunk_inputs(rays.draw(1024, generator))["field"])
        if sum(map(len, found)) >= count:
            break
    inputs = torch.cat(found)
    keep = torch.randperm(len(inputs), generator=generator)[:count].to(inputs.device)
    return TrunkInputs(inputs[keep], inputs.new_ones(len(keep)), lambda values: values)
