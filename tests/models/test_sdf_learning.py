"""A sphere seen from a ring of depth images is learnt by SDFField with the samplers, bounds and losses, and nothing
else."""

import pytest
import torch
from support.depth_scenes import ring_of_cameras, sphere_depths

from eugen_fields.fields import SDFField
from eugen_fields.models.sdf_losses import sdf_loss_terms
from eugen_fields.sampling import depth_rays, point_bounds, sample_depth_rays, sphere_trace

RADIUS, SIZE, CAMERAS, STEPS = 0.5, 40, 8, 200
INTRINSICS = torch.tensor([SIZE, SIZE, SIZE / 2, SIZE / 2]).float().expand(CAMERAS, 4)


@pytest.mark.parametrize(
    "layer, options",
    [
        ("eugen", {"replace": (1, 3), "num_features": 32}),
        pytest.param("dense", {}, marks=pytest.mark.e2e),
        pytest.param("prp", {}, marks=pytest.mark.e2e),
    ],
)
def test_a_sphere_is_learnt_to_a_centimetre(layer, options):
    torch.manual_seed(0)
    poses = ring_of_cameras(CAMERAS, 1.5)
    depths = sphere_depths(poses, INTRINSICS, SIZE, SIZE, RADIUS)
    everywhere = torch.arange(CAMERAS)
    sizes = {"num_layers": 4, "layer_width": 64, "skip_connections": (2,), "activation": "relu"}
    field = SDFField(torch.tensor([[-1.0] * 3, [1.0] * 3]), 0.1, layer=layer, **sizes, **options)
    rate = 8e-3 if layer == "prp" else 2e-3
    optimizer = torch.optim.AdamW(field.parameters(), lr=rate, weight_decay=0.012)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.1, STEPS)
    generator = torch.Generator().manual_seed(0)
    for _ in range(STEPS):
        rays = depth_rays(depths, INTRINSICS, poses, everywhere, 6, generator)
        seen = depth_rays(depths, INTRINSICS, poses, everywhere, 100, generator)
        distances = sample_depth_rays(rays.distances, generator)
        samples = rays.at(distances)
        target = point_bounds(samples, distances > rays.distances[:, None], seen.surface(), seen.normals)
        sdf, gradient = field.sdf_and_gradient(samples.view(-1, 3))
        terms = sdf_loss_terms(sdf.view(distances.shape), gradient.view_as(samples), target.bounds, target.directions)
        loss = torch.stack([term.mean() for term in terms.values()]).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()

    rays = depth_rays(depths, INTRINSICS, poses, everywhere, 100, torch.Generator().manual_seed(9))
    surface = rays.surface()
    spread = 2.0 * torch.rand(len(surface), 1, generator=generator) - 1.0
    shell = surface * (1.0 + 0.1 * spread)  # 5 cm to either side
    error = (field.evaluate(shell) - (shell.norm(dim=-1) - RADIUS)).abs().mean()
    assert float(error) < 0.01
    cosine = (field.normals(surface).detach() * surface).sum(dim=-1) / RADIUS
    assert float(cosine.mean()) > 0.98
    depth, hit = sphere_trace(field.folded().sdf, rays.origins, rays.directions, 0.1, 3.0)
    facing = (rays.directions * surface).sum(dim=-1) < -0.5 * RADIUS
    assert bool(hit[facing].all())
    assert float((depth - rays.distances)[facing].abs().mean()) < 0.015
