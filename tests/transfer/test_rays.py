"""What samples on training rays matter, and what a field gets wrong of them."""

from __future__ import annotations

import torch

from eugen_fields.sampling import PackedSamples, render_weights
from eugen_fields.transfer.finetune import Seen
from eugen_fields.transfer.rays import arriving_light


def packed(counts: list[int]) -> PackedSamples:
    rays = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    return PackedSamples(rays, torch.arange(len(rays)).float(), torch.tensor(counts), 0.1)


def test_the_light_that_arrives_is_what_the_samples_before_leave() -> None:
    samples = packed([3, 0, 1, 4, 0])
    density = torch.tensor([0.0, 5.0, 20.0, 7.0, 1.0, 2.0, 3.0, 4.0])
    light = arriving_light(render_weights(density, samples), samples)
    expected = [0.0, 0.0, 0.5, 0.0, 0.0, 0.1, 0.3, 0.6]  # optical depth in front of each sample, ray by ray
    torch.testing.assert_close(light, torch.exp(-torch.tensor(expected)), rtol=0, atol=1e-6)


def test_rays_without_samples_are_passed_over() -> None:
    samples = packed([0, 0])
    assert len(arriving_light(torch.zeros(0), samples)) == 0


def test_samples_err_where_their_ray_does_not() -> None:
    samples, background = packed([2, 1]), torch.rand(2, 3)
    colors = torch.tensor([[0.2, 0.4, 0.6]]).expand(3, 3)
    wanted = Seen(torch.tensor([0.5, 0.2, 0.9]), colors)
    moved = Seen(torch.tensor([0.2, 0.5, 0.9]), colors)
    torch.testing.assert_close(moved.render(samples, background), wanted.render(samples, background))
    assert float(wanted.error(wanted, samples, background)) == 0.0
    assert float(moved.error(wanted, samples, background)) > 1e-3
    hidden = Seen(torch.tensor([0.5, 0.2, 0.0]), colors)  # what has no weight may have any colour
    recolored = Seen(hidden.weights, torch.cat([colors[:2], 1.0 - colors[2:]]))
    assert float(recolored.error(hidden, samples, background)) == 0.0
