"""The Mip-NeRF-style model: where it looks along rays, what it renders, and what its losses train."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from nerfstudio.cameras.camera_optimizers import CameraOptimizerConfig
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.data.scene_box import SceneBox

from eugen_fields.benchmark.quality.train import score_run
from eugen_fields.models.mipnerf import MipNeRFModelConfig
from eugen_fields.models.nerf import NeRFModelConfig

BOX = torch.tensor([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]])
NAMES = {"rgb": 3, "accumulation": 1, "depth": 1, "normals": 3}
both_regimes = pytest.mark.parametrize("regime", ["bounded", "unbounded"])


def make_model(regime="bounded", **options):
    torch.manual_seed(0)
    small = {"layer_width": 16, "num_features": 4, "num_layers": 2, "feature_dim": 8, "color_width": 8}
    small |= {"proposal_samples": (48,), "num_samples": 24}
    config = MipNeRFModelConfig(size="tiny", regime=regime, **{**small, **options})
    return config.setup(scene_box=SceneBox(aabb=BOX), num_train_data=3, metadata={})


def make_rays(origins, directions, nears=None, fars=None, pixel_area=1e-5):
    origins = torch.as_tensor(origins, dtype=torch.float32)
    directions = F.normalize(torch.as_tensor(directions, dtype=torch.float32), dim=-1).expand_as(origins).clone()
    column = torch.ones_like(origins[..., :1])
    return RayBundle(
        origins=origins,
        directions=directions,
        pixel_area=pixel_area * column,
        camera_indices=torch.arange(column.numel()).view(column.shape) % 3,
        nears=None if nears is None else nears * column,
        fars=None if fars is None else fars * column,
    )


def towards_the_centre(count=40, distance=3.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    places = distance * F.normalize(torch.randn(count, 3, generator=generator), dim=-1)
    return make_rays(places, 0.5 * torch.randn(count, 3, generator=generator) - places)


def show(model, scene):
    """Makes field and proposal a scene: density (N,) of Gaussians with means (N, 3) and covariances (N, 3, 3)."""

    def seen(network):
        def density(positions, covariances=None):
            if covariances is None:
                covariances = (0.05**2 * torch.eye(3)).expand(len(positions), 3, 3)
            return scene(positions, covariances), positions.new_ones(len(positions), network.feature_dim)

        return density

    for network in (model.field, model.proposal):
        network.density = seen(network)
    return model


def marched(model, rays):
    """The intervals along rays at which the model evaluates its field."""
    return model.march(rays, model.networks())


def behind(depth, normals, covariances):
    """Share of a Gaussian behind a plane: its mean lies `depth` (N,) behind it, normals (N, 3)."""
    spread = torch.einsum("ni,nij,nj->n", normals, covariances, normals)
    return torch.special.ndtr(depth / (spread + 1e-10).sqrt())


def wall(place=0.3, opacity=500.0):
    """All is opaque behind x = place."""
    return lambda means, covariances: (
        opacity * behind(means[:, 0] - place, torch.eye(3)[0].expand_as(means), covariances)
    )


def ball(radius=0.5, opacity=500.0):
    return lambda means, covariances: (
        opacity * behind(radius - means.norm(dim=-1), F.normalize(means, dim=-1), covariances)
    )


def fog(density=0.8):
    return lambda means, covariances: density + 0.0 * means.sum(dim=-1)


# Outputs


@both_regimes
@pytest.mark.parametrize("shape", [(7,), (5, 3)])
def test_renders_have_the_names_shapes_and_ranges_that_nerfstudio_reads(regime, shape):
    model = make_model(regime).eval()
    rays = towards_the_centre(math.prod(shape))
    outputs = model(rays.reshape(shape))
    assert {name: value.shape for name, value in outputs.items()} == {
        name: (*shape, channels) for name, channels in NAMES.items()
    }
    for name, value in outputs.items():
        assert value.dtype == torch.float32 and bool(value.isfinite().all()), name
        assert float(value.min()) >= 0.0, name
        assert name == "depth" or float(value.max()) <= 1.0, name
    assert float(outputs["accumulation"].min()) > 0.0
    assert "normals" not in make_model(regime, output_normals=False).eval()(rays)


@both_regimes
def test_images_are_rendered_with_folded_networks_in_any_chunks(regime):
    model = make_model(regime).eval()
    rays = towards_the_centre(15).reshape((5, 3))
    with torch.no_grad():
        plain = model(rays)
        model.config.eval_num_rays_per_chunk, model.config.eval_num_samples_per_chunk = 4, 50
        image = model.get_outputs_for_camera_ray_bundle(rays)
    for name in NAMES:
        # depth is a median: rounding moves it within an interval
        close = {"rtol": 1e-3, "atol": 1e-3} if name in ("depth", "normals") else {"rtol": 1e-4, "atol": 1e-5}
        torch.testing.assert_close(image[name], plain[name], **close)
    assert {"field", "proposal"} == set(model.networks()) and model.networks()["field"] is model.field


@both_regimes
def test_training_outputs_and_losses_are_finite(regime):
    model = make_model(regime, appearance_dim=2, distortion_weight=0.01).train()
    rays = towards_the_centre()
    outputs = model(rays)
    assert outputs["rgb"].shape == (40, 3) and outputs["accumulation"].shape == (40, 1)
    near, far = model.ray_limits(rays)
    assert int(outputs["num_samples"]) == int((near < far).sum()) * model.config.max_samples_per_ray() > 0
    losses = model.get_loss_dict(outputs, {"image": torch.rand(40, 3)})
    assert set(losses) == {"rgb_loss", "interlevel_loss", "distortion_loss"}
    total = sum(losses.values())
    total.backward()
    assert bool(torch.isfinite(total)) and all(float(loss.detach()) > 0 for loss in losses.values())
    for name, parameter in (*model.field.named_parameters(), *model.proposal.named_parameters()):
        assert parameter.grad is not None and bool(parameter.grad.isfinite().all()), name
        assert float(parameter.grad.abs().max()) > 0, name
    metrics = model.get_metrics_dict(outputs, {"image": torch.rand(40, 3)})
    assert math.isfinite(float(metrics["psnr"])) and int(metrics["num_samples_per_batch"]) == outputs["num_samples"]


def test_the_weights_of_the_losses_are_flags():
    losses = []
    for factor in (1.0, 3.0):
        model = make_model(interlevel_weight=factor, distortion_weight=factor).train()
        outputs = model(towards_the_centre())
        loss = model.get_loss_dict(outputs, {"image": torch.rand(40, 3)})
        torch.testing.assert_close(loss["interlevel_loss"], factor * outputs["interlevel_loss"])
        losses.append(float(loss["distortion_loss"].detach()))
    assert losses[1] == pytest.approx(3.0 * losses[0], rel=1e-4)


@both_regimes
def test_each_network_is_trained_by_its_own_losses(regime):
    model = make_model(regime, distortion_weight=0.01).train()
    with torch.no_grad():
        model.field.trunk.layers[-1].bias[0] = 5.0  # more than the proposal expects
    outputs = model(towards_the_centre())
    losses = model.get_loss_dict(outputs, {"image": torch.rand(40, 3)})
    field, proposal = list(model.field.parameters()), list(model.proposal.parameters())

    def reached(loss, parameters):
        gradients = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
        return any(gradient is not None and bool(gradient.any()) for gradient in gradients)

    assert reached(losses["interlevel_loss"], proposal) and not reached(losses["interlevel_loss"], field)
    for name in ("rgb_loss", "distortion_loss"):
        assert reached(losses[name], field) and not reached(losses[name], proposal)


# Limits of rays


def test_rays_that_miss_the_box_show_the_background():
    model = make_model().eval()
    show(model, fog(50.0))
    missing = make_rays([[-3.0, 2.0, 0.0], [0.0, 0.0, 5.0], [3.0, 3.0, 3.0], [-3.0, -2.0, 0.0]], [[1.0, 0.0, 0.0]])
    missing.directions[1] = torch.tensor([0.0, 0.0, 1.0])  # the box is behind this one
    for background in ("white", "black"):
        model.config.eval_background = background
        outputs = model(missing)
        assert torch.equal(outputs["accumulation"], torch.zeros(4, 1))
        assert torch.equal(outputs["rgb"], torch.full((4, 3), 1.0 if background == "white" else 0.0))
        assert torch.equal(outputs["normals"], torch.full((4, 3), 0.5))
        assert bool((outputs["depth"] > 0).all()) and float(outputs["depth"].max()) < 10.0, "as far as the scene"
    model.train()
    outputs = model(missing)
    assert torch.equal(outputs["rgb"], outputs["background"])
    assert float(outputs["interlevel_loss"]) == float(outputs["distortion_loss"]) == 0.0
    assert float(model.field.footprint) == 0.0, "what no ray shows is not measured"


@both_regimes
def test_limits_that_overflow_leave_no_trace(regime):
    """nerfstudio's crop gives rays that miss it nears and fars of 1e10; the network is as bad as can be out there."""
    model = make_model(regime).train()
    with torch.no_grad():
        model.field.trunk.layers[-1].weight.mul_(1e6)
    rays = make_rays([[-3.0, 0.0, 0.0]] * 4, [[1.0, 0.0, 0.0]], nears=1e10, fars=1e10)
    outputs = model(rays)
    losses = model.get_loss_dict(outputs, {"image": torch.rand(4, 3)})
    sum(losses.values()).backward()
    assert torch.equal(outputs["rgb"], outputs["background"])
    for parameter in model.parameters():
        assert parameter.grad is None or bool(parameter.grad.isfinite().all())


@both_regimes
def test_nears_and_fars_of_the_bundle_are_respected(regime):
    model = show(make_model(regime).eval(), fog(50.0))
    outputs = model(make_rays([[-3.0, 0.0, 0.0]], [[1.0, 0.0, 0.0]], nears=2.7, fars=3.5))
    intervals = marched(model, make_rays([[-3.0, 0.0, 0.0]], [[1.0, 0.0, 0.0]], nears=2.7, fars=3.5))
    assert 2.7 <= float(outputs["depth"]) < 2.75 and float(outputs["accumulation"]) > 0.99
    assert float(intervals.distances.min()) >= 2.7 - 1e-5 and float(intervals.distances.max()) <= 3.5 + 1e-5
    beyond = model(make_rays([[-3.0, 0.0, 0.0]], [[1.0, 0.0, 0.0]], nears=3.0, fars=2.9))
    assert float(beyond["accumulation"]) == 0.0


def test_unbounded_rays_see_beyond_the_box_and_bounded_ones_do_not():
    for regime, seen in (("bounded", 0.0), ("unbounded", 1.0)):
        model = show(make_model(regime).eval(), wall(5.0))
        outputs = model(make_rays([[-3.0, 0.0, 0.0]], [[1.0, 0.0, 0.0]]))
        assert float(outputs["accumulation"]) == pytest.approx(seen, abs=1e-2), regime


def texture_ray(length, side=1.0):
    """What nerfstudio's texture exporter makes of a place on the wall at x = 0.3: half of the ray on either side."""
    return make_rays([[0.3 - 0.5 * length, 0.0, 0.0]], [[side, 0.0, 0.0]], nears=0.0, fars=length, pixel_area=1.0)


@both_regimes
@pytest.mark.parametrize("length", [0.01, 0.04, 0.4])
def test_rays_of_the_texture_exporter_meet_their_surface(regime, length):
    """Fine meshes make them shorter than the near plane."""
    model = show(make_model(regime).eval(), wall(0.3, opacity=100.0 / length))
    outputs = model(texture_ray(length))
    assert float(outputs["accumulation"]) > 0.9
    assert float(outputs["depth"]) == pytest.approx(0.5 * length, rel=0.1)


def test_rays_of_the_texture_exporter_meet_their_surface_in_nerf_models_as_well():
    config = NeRFModelConfig(
        layer_width=16,
        num_features=4,
        num_layers=2,
        feature_dim=8,
        color_width=8,
        skip_connections=(),
        grid_resolution=8,
    )
    model = config.setup(scene_box=SceneBox(aabb=BOX), num_train_data=3, metadata={}).eval()
    model.field.forward = lambda positions, directions: (
        1e4 * (positions[:, 0] > 0.3).float(),
        torch.ones_like(positions),
    )
    outputs = model(texture_ray(0.04))
    assert float(outputs["accumulation"]) > 0.9
    assert float(outputs["depth"]) == pytest.approx(0.02, abs=model.step_size)


@both_regimes
def test_the_near_plane_bounds_what_cameras_see(regime):
    model = show(make_model(regime, near_plane=0.4).eval(), fog(50.0))
    for rays in (
        make_rays([[0.0, 0.0, 0.0]], [[1.0, 0.0, 0.0]]),
        make_rays([[0.0, 0.0, 0.0]], [[1.0, 0.0, 0.0]], nears=0.0, fars=100.0),
    ):
        assert 0.4 <= float(model(rays)["depth"]) < 0.45


@both_regimes
def test_pixels_without_a_camera_are_rays_without_width(regime):
    model = make_model(regime).eval()
    rays = towards_the_centre()
    wide, none = marched(model, rays), marched(model, make_rays(rays.origins, rays.directions, pixel_area=1.0))
    across = [
        (intervals.spreads.det() / intervals.spreads.diagonal(dim1=-2, dim2=-1).sum(dim=-1)).abs().max()
        for intervals in (wide, none)
    ]
    assert float(across[0]) > 0 and float(across[1]) < 1e-3 * float(across[0])
    exact = marched(model, make_rays(rays.origins, rays.directions, pixel_area=0.0))
    torch.testing.assert_close(none.spreads, exact.spreads)
    assert all(bool(value.isfinite().all()) for value in model(rays).values())


def test_cones_are_as_wide_as_their_pixels():
    model = make_model().eval()
    rays = make_rays([[-3.0, 0.0, 0.0]], [[1.0, 0.0, 0.0]], pixel_area=1e-4)
    intervals = marched(model, rays)
    middles = 0.5 * (intervals.distances[:, 1:] + intervals.distances[:, :-1])
    width = 0.01 * middles  # of a pixel at that distance; a square of it has the variance width^2 / 12 along y
    torch.testing.assert_close(intervals.spreads[..., 1, 1], width**2 / 12, rtol=0.02, atol=0)


# Empty space


def only_right_half(model):
    """A grid that holds nothing at x < 0."""
    cube = torch.zeros(model.grid.resolution, 1, 1, dtype=torch.bool)
    cube[model.grid.resolution // 2 :] = True
    model.grid.occupied.copy_(cube.expand(-1, model.grid.resolution, model.grid.resolution).flatten())
    return model


def test_unbounded_models_have_no_grid_and_bounded_ones_start_with_a_full_one():
    assert make_model("unbounded").grid is None
    assert bool(make_model("bounded").grid.occupied.all())


@pytest.mark.parametrize("training", [True, False])
def test_what_the_grid_has_empty_is_not_looked_at(training):
    model = only_right_half(show(make_model(grid_resolution=16).train(training), fog(50.0)))
    rays = make_rays([[-3.0, 0.0, 0.0], [-0.5, -3.0, 0.1], [0.5, -3.0, 0.1]], [[1.0, 0.0, 0.0]])
    rays.directions[1:] = torch.tensor([0.0, 1.0, 0.0])
    intervals, outputs = marched(model, rays), model(rays)
    assert intervals.rays.tolist() == [0, 2]
    spare = 2.0 / 16 + 2.0 / 32  # a cell, since the ray has some width, and a look
    assert float(intervals.distances[0].min()) >= 3.0 - spare and float(intervals.distances[1].min()) >= 2.0 - 1e-5
    assert outputs["accumulation"][1] == 0.0
    assert bool((outputs["accumulation"][[0, 2]] > 0.99).all())
    if training:
        assert int(outputs["num_samples"]) == 2 * model.config.max_samples_per_ray()
        assert torch.equal(outputs["rgb"][1], outputs["background"][1])
    else:
        assert float(outputs["depth"][1]) == pytest.approx(4.0), "behind the box"


def test_losses_are_means_over_all_rays():
    """Rays that meet nothing count as rays whose losses are 0."""
    losses = []
    for missing in (0, 5):
        model = make_model().train()
        with torch.no_grad():
            model.field.trunk.layers[-1].bias[0] = 5.0
        rays = towards_the_centre(5)
        if missing:
            origins = torch.cat([rays.origins, torch.full((missing, 3), 3.0)])
            rays = make_rays(origins, torch.cat([rays.directions, torch.ones(missing, 3)]))
        torch.manual_seed(0)
        outputs = model(rays)
        losses.append([float(outputs[name]) for name in ("interlevel_loss", "distortion_loss")])
    assert min(losses[0]) > 0
    assert losses[1] == pytest.approx([loss / 2 for loss in losses[0]], rel=1e-4)


def test_a_batch_that_meets_nothing_trains_nothing_and_breaks_nothing():
    model = make_model(appearance_dim=2).train()
    outputs = model(make_rays([[3.0, 3.0, 3.0]] * 4, [[1.0, 0.0, 0.0]]))
    losses = model.get_loss_dict(outputs, {"image": torch.rand(4, 3)})
    sum(losses.values()).backward()
    for parameter in (*model.field.parameters(), *model.proposal.parameters()):
        assert parameter.grad is None or not bool(parameter.grad.any())
    assert outputs["rgb"].shape == (4, 3) and int(outputs["num_samples"]) <= model.config.max_samples_per_ray()


def test_the_grid_finds_the_ball_and_leaves_its_render_alone():
    model = show(make_model(grid_resolution=32, proposal_samples=(64, 64)).eval(), ball(0.5))
    rays = towards_the_centre(200)
    with torch.no_grad():
        before = model(rays)
        assert model.update_grid(16) is False
        assert bool(model.grid.occupied.all()), "nothing is taken to be empty in the warm-up"
        assert model.update_grid(256) is False
        after = model(rays)
    assert 0.05 < float(model.grid.occupied.float().mean()) < 0.2
    solid = (before["accumulation"] - 0.5).abs()[:, 0] > 0.4  # not the edge, where samples decide
    torch.testing.assert_close(after["accumulation"][solid], before["accumulation"][solid], rtol=0, atol=0.1)
    seen = before["accumulation"][:, 0] > 0.9
    torch.testing.assert_close(after["depth"][seen], before["depth"][seen], rtol=0, atol=0.05)


# Where it looks


def shadow_of(intervals):
    """The length of the interval in which half of the accumulated weight is reached."""
    share = intervals.weights.cumsum(dim=-1) / intervals.weights.sum(dim=-1, keepdim=True)
    index = (share < 0.5).sum(dim=-1, keepdim=True)
    return torch.diff(intervals.distances).gather(-1, index)


FINE = {"proposal_samples": (64, 64), "near_plane": 0.5, "far_plane": 20.0}


@both_regimes
def test_depth_is_the_distance_to_an_opaque_wall(regime):
    model = show(make_model(regime, **FINE).eval(), wall(0.3))
    origins = torch.tensor([[-3.0, 0.0, 0.0], [-2.0, 0.4, 0.3], [-0.5, -0.2, 0.1]])
    rays = make_rays(origins, [[1.0, 0.1, -0.1]])
    outputs, length = model(rays), shadow_of(marched(model, rays))
    truth = (0.3 - origins[:, :1]) / rays.directions[:, :1]
    assert bool((outputs["accumulation"] > 0.99).all())
    assert bool(((outputs["depth"] - truth).abs() <= length + 0.02).all())
    torch.testing.assert_close(outputs["normals"], torch.tensor([[0.0, 0.5, 0.5]]).expand(3, 3), rtol=0, atol=1e-3)


@both_regimes
def test_depth_is_the_distance_to_an_opaque_ball(regime):
    model = show(make_model(regime, **FINE).eval(), ball(0.5))
    generator = torch.Generator().manual_seed(0)
    origins = 3.0 * F.normalize(torch.randn(80, 3, generator=generator), dim=-1)
    rays = make_rays(origins, 0.8 * torch.randn(80, 3, generator=generator) - origins)
    along = -(rays.origins * rays.directions).sum(dim=-1)
    squared = along**2 - (rays.origins**2).sum(dim=-1) + 0.5**2
    outputs, intervals = model(rays), marched(model, rays)
    length = torch.zeros(80, 1).index_put((intervals.rays,), shadow_of(intervals))
    hit, miss = squared > 0.02, squared < -0.02
    assert int(hit.sum()) > 10 and int(miss.sum()) > 5
    assert bool((outputs["accumulation"][hit] > 0.95).all())
    if regime == "bounded":  # long Gaussians far behind the ball still see a little of its tangent plane
        assert bool((outputs["accumulation"][miss] < 0.05).all())
    truth = (along - squared.clamp(min=0.0).sqrt())[:, None]
    assert bool(((outputs["depth"] - truth).abs() <= length + 0.02)[hit].all())
    normals = F.normalize(rays.origins + truth * rays.directions, dim=-1)
    alignment = ((2.0 * outputs["normals"] - 1.0) * normals).sum(dim=-1)
    assert bool((alignment[hit] > (0.99 if regime == "bounded" else 0.95)).all())


@pytest.mark.parametrize("density", [0.0, 0.2, 0.8, 4.0])
def test_weights_sum_to_what_the_fog_absorbs(density):
    model = show(make_model().eval(), fog(density))
    outputs = model(make_rays([[-3.0, 0.0, 0.0], [-3.0, 0.5, 0.2]], [[1.0, 0.0, 0.0]]))
    absorbed = 1.0 - math.exp(-2.0 * density)  # the box is 2 long
    torch.testing.assert_close(outputs["accumulation"], torch.full((2, 1), absorbed), rtol=0, atol=0.01)
    if density >= 0.8:  # the median of what is absorbed
        median = -math.log(1.0 - 0.5 * absorbed) / density
        torch.testing.assert_close(outputs["depth"], torch.full((2, 1), 2.0 + median), rtol=0, atol=0.03)


def test_weights_in_unbounded_fog_sum_to_what_it_absorbs():
    """Fog that thins out with the distance: density e^-r, from the near plane on, has the optical depth e^-near."""
    thinning = lambda means, covariances: torch.exp(-means.norm(dim=-1))
    model = show(make_model("unbounded", proposal_samples=(64, 64), num_samples=64).eval(), thinning)
    outputs = model(make_rays([[0.0, 0.0, 0.0]], [[1.0, 0.0, 0.0]]))
    absorbed = 1.0 - math.exp(-math.exp(-0.05))
    assert float(outputs["accumulation"]) == pytest.approx(absorbed, abs=0.02)


def test_nothing_absorbs_nothing():
    for regime in ("bounded", "unbounded"):
        outputs = show(make_model(regime).eval(), fog(0.0))(towards_the_centre())
        assert torch.equal(outputs["accumulation"], torch.zeros(40, 1))
        assert torch.equal(outputs["rgb"], torch.ones(40, 3))


@both_regimes
def test_proposals_draw_samples_to_the_surface(regime):
    # not so opaque that the tails of long Gaussians before the wall hide it
    model = show(make_model(regime, proposal_samples=(48, 48), num_samples=24).eval(), wall(0.3, opacity=20.0))
    intervals = marched(model, make_rays([[-3.0, 0.0, 0.0]], [[1.0, 0.0, 0.0]]))
    near = (0.5 * (intervals.distances[0, 1:] + intervals.distances[0, :-1]) - 3.3).abs() < 0.2
    assert int(near.sum()) >= 18, "three quarters of the last samples lie at the wall"
    (first, _), *_ = intervals.history
    torch.testing.assert_close(first[0], torch.linspace(0.0, 1.0, 49), rtol=0, atol=1e-4)  # the first are even
    assert [len(edges[0]) for edges, _ in intervals.history] == [49, 49, 25]


def test_annealing_moves_samples_from_even_to_the_surface():
    model = show(make_model(anneal_steps=1000, num_samples=24).train(), wall(0.3))
    rays = make_rays([[-3.0, 0.0, 0.0]], [[1.0, 0.0, 0.0]])
    spread = {}
    for step in (0, 1, 1000, 10_000):
        model.anneal(step)
        torch.manual_seed(0)
        spread[step] = float((marched(model, rays).distances - 3.3).abs().mean())
    assert spread[0] == pytest.approx(0.545, abs=0.05)  # evenly from 2 to 4
    assert spread[0] > spread[1] + 0.05 and spread[1] > spread[1000] + 0.05, spread
    assert spread[1000] == spread[10_000]
    model.anneal(0)
    assert float((marched(model.eval(), rays).distances - 3.3).abs().mean()) < 0.3, "renders are not annealed"


def test_annealing_is_called_before_every_step():
    model = make_model(anneal_steps=0)
    (callback,) = model.get_training_callbacks(None)
    callback.run_callback(step=0)
    assert model.anneal_progress == 0.0
    callback.run_callback(step=1)
    assert model.anneal_progress == 1.0


def test_training_rays_are_stratified_and_renders_are_not():
    model, rays = make_model(), towards_the_centre()
    first, second = (marched(model.train(), rays).distances for _ in range(2))
    assert not torch.equal(first, second)
    first, second = (marched(model.eval(), rays).distances for _ in range(2))
    assert torch.equal(first, second)


@both_regimes
def test_rays_and_gaussians_stay_exact_under_autocast(regime):
    model = show(make_model(regime, camera_optimizer=CameraOptimizerConfig(mode="SO3xR3")).train(), fog())
    with torch.no_grad():
        model.camera_optimizer.pose_adjustment.normal_(std=0.1, generator=torch.Generator().manual_seed(0))
    found = []
    for enabled in (False, True):
        rays = towards_the_centre()
        torch.manual_seed(0)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            outputs = model(rays)
            found.append((rays.directions, outputs["accumulation"], outputs["distortion_loss"], model.field.footprint))
    for exact, mixed in zip(*found):
        assert mixed.dtype == torch.float32
        torch.testing.assert_close(mixed, exact)


# Cameras and appearance


def test_without_corrected_cameras_there_is_one_group_of_all_parameters():
    model = make_model(appearance_dim=2)
    groups = model.get_param_groups()
    assert set(groups) == {"fields"}
    ours = [p for name, p in model.named_parameters() if name != "device_indicator_param"]  # nerfstudio's own
    assert {id(p) for p in groups["fields"]} == {id(p) for p in ours}


@both_regimes
def test_corrected_cameras_start_where_they_were_and_learn(regime):
    options = {"camera_optimizer": CameraOptimizerConfig(mode="SO3xR3")}
    plain, model = make_model(regime).train(), make_model(regime, **options).train()
    groups = model.get_param_groups()
    assert [p.shape for p in groups["camera_opt"]] == [(3, 6)]
    assert len(groups["fields"]) == len(plain.get_param_groups()["fields"])
    torch.manual_seed(1)
    expected = plain(towards_the_centre())
    torch.manual_seed(1)
    outputs = model(towards_the_centre())
    torch.testing.assert_close(outputs["rgb"], expected["rgb"])
    losses = model.get_loss_dict(outputs, {"image": torch.rand(40, 3)})
    assert "camera_opt_regularizer" in losses
    losses["rgb_loss"].backward()
    (adjustment,) = groups["camera_opt"]
    assert bool(adjustment.grad.isfinite().all()) and bool((adjustment.grad.abs().sum(dim=-1) > 0).all())


def test_codes_belong_to_the_images_of_the_rays():
    model = make_model(appearance_dim=2).train()
    rays = towards_the_centre(9)
    rays.camera_indices.fill_(1)
    model(rays)["rgb"].sum().backward()
    gradient = model.field.appearance.weight.grad
    assert bool(gradient[1].any()) and not bool(gradient[[0, 2]].any())


# Training


def test_a_bounded_run_learns_the_sphere(bounded_mip_run):
    assert bounded_mip_run.pipeline.model.field.bounded
    scores = score_run(bounded_mip_run, progress=False)
    assert scores["psnr"] > 25.0 > 11.0 > scores["empty_psnr"], scores
    assert 0.001 < float(bounded_mip_run.pipeline.model.field.footprint) < 0.1
    assert set(bounded_mip_run.optimizers.optimizers) == {"fields"}


def test_an_unbounded_run_learns_the_photos(unbounded_mip_run):
    model = unbounded_mip_run.pipeline.model
    assert not model.field.bounded
    scores = score_run(unbounded_mip_run, progress=False)
    assert scores["psnr"] > scores["empty_psnr"] + 4.0, scores
    assert float(unbounded_mip_run.step_metrics["psnr"]) > 20.0
    adjustment = model.camera_optimizer.pose_adjustment.detach()
    assert set(unbounded_mip_run.optimizers.optimizers) == {"fields", "camera_opt"}
    assert bool(adjustment.any(dim=-1).all()) and float(adjustment.abs().max()) < 0.3
    assert bool(model.field.appearance.weight.detach().any(dim=-1).all()), "every image's code has moved"


def test_the_distortion_loss_counts_without_bounds_alone_unless_asked_for():
    for regime, weight in (("bounded", 0.0), ("unbounded", 0.001)):
        assert make_model(regime).config.chosen_distortion_weight() == weight
        assert make_model(regime, distortion_weight=0.5).config.chosen_distortion_weight() == 0.5
