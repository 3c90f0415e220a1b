"""The iSDF model: what training and renders give, against fields that are known."""

import dataclasses

import pytest
import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.data.scene_box import SceneBox
from support.depth_scenes import image_rays, look_at

from eugen_fields.methods import METHODS
from eugen_fields.models.isdf import ISDFModel, ISDFModelConfig
from eugen_fields.models.sdf_losses import sdf_loss_terms
from eugen_fields.sampling import point_bounds, ray_bounds

AABB = torch.tensor([[-1.5] * 3, [1.5] * 3])
RADIUS = 0.6


def make_model(**options) -> ISDFModel:
    torch.manual_seed(0)
    settings = {"num_layers": 4, "layer_width": 32, "num_features": 16, "skip_connections": (2,)} | options
    return ISDFModelConfig(**settings).setup(scene_box=SceneBox(AABB), num_train_data=1)


def make_sphere(model: ISDFModel) -> ISDFModel:
    """The model with the field of a sphere around the origin."""

    def sdf(points):
        return points.norm(dim=-1) - RADIUS

    object.__setattr__(model.field, "sdf", sdf)
    object.__setattr__(model.field, "folded", lambda: model.field)
    return model.eval()


def make_bundle(origins, directions, **extra) -> RayBundle:
    return RayBundle(origins=origins, directions=directions, pixel_area=torch.zeros_like(origins[:, :1]), **extra)


def depth_batch(count=30):
    """Rays from a camera to the sphere, with what they saw."""
    generator = torch.Generator().manual_seed(0)
    targets = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=-1)
    targets[:, 2] = targets[:, 2].abs()
    surface, origins = RADIUS * targets, torch.tensor([0.0, 0.0, 3.0]).expand(count, 3)
    directions = torch.nn.functional.normalize(surface - origins, dim=-1)
    distances = (surface - origins).norm(dim=-1)
    batch = {"distances": distances, "surface": surface, "surface_normals": targets, "normals": targets}
    return make_bundle(origins, directions, metadata={"distances": distances[:, None]}), batch


def test_training_evaluates_samples_on_the_rays():
    model = make_model(num_near_surface=3, num_stratified=5, beyond=0.2, near=0.1).train()
    bundle, batch = depth_batch()
    outputs = model(bundle)
    distances, points = outputs["distances"], outputs["points"]
    assert distances.shape == (30, 9) and points.shape == (30, 9, 3)
    torch.testing.assert_close(points, bundle.origins[:, None] + distances[..., None] * bundle.directions[:, None])
    torch.testing.assert_close(distances[:, 0], batch["distances"])
    assert bool((distances[:, 4:] >= 0.1).all() and (distances[:, 4:] <= batch["distances"][:, None] + 0.2).all())
    sdf, gradient = model.field.sdf_and_gradient(points.view(-1, 3))
    torch.testing.assert_close(outputs["sdf"], sdf.view(30, 9))
    torch.testing.assert_close(outputs["gradient"], gradient.view(30, 9, 3))


@pytest.mark.parametrize("bounds", ["pc", "ray"])
def test_the_loss_is_the_mean_of_the_terms_of_all_samples(bounds):
    model = make_model(bounds=bounds, eikonal_weight=0.5, truncation=0.2).train()
    bundle, batch = depth_batch()
    outputs = model(bundle)
    losses = model.get_loss_dict(outputs, batch)
    target = point_bounds(
        outputs["points"],
        outputs["distances"] > batch["distances"][:, None],
        batch["surface"],
        batch["surface_normals"],
    )
    along = ray_bounds(batch["distances"], outputs["distances"])
    expected = sdf_loss_terms(
        outputs["sdf"],
        outputs["gradient"],
        target.bounds if bounds == "pc" else along,
        target.directions,
        model.config.loss_weights(),
    )
    assert set(losses) == {f"{name}_loss" for name in expected}
    for name, term in expected.items():
        torch.testing.assert_close(losses[f"{name}_loss"], term.mean())
    total = sum(losses.values())
    torch.testing.assert_close(outputs["ray_loss"].mean(), total.detach())
    total.backward()
    assert all(bool(weight.grad.isfinite().all()) for weight in model.field.parameters())


def test_both_gradient_modes_train_alike():
    gradients = []
    for mode in ("reverse", "forward"):
        model = make_model(gradient_mode=mode).train()
        bundle, batch = depth_batch()
        torch.manual_seed(1)
        sum(model.get_loss_dict(model(bundle), batch).values()).backward()
        gradients.append(torch.cat([weight.grad.flatten() for weight in model.field.parameters()]))
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-5)


def test_renders_of_a_sphere_have_its_depth_and_normals():
    model = make_sphere(make_model())
    pose = look_at(torch.tensor([2.0, 1.0, 1.2]), torch.zeros(3))
    origins, directions, _ = image_rays(24, 32, torch.tensor([40.0, 40.0, 16.0, 12.0]), pose)
    outputs = model(make_bundle(origins, directions))
    along = -(origins * directions).sum(dim=-1)
    inside = along**2 - (origins**2).sum(dim=-1) + RADIUS**2
    hit = outputs["accumulation"][:, 0] > 0.5
    clear = inside.abs() > 0.01  # rays that graze the sphere may go either way
    assert torch.equal(hit[clear], (inside > 0)[clear]) and 0.1 < float(hit.float().mean()) < 0.9
    half_chord = inside.clamp(min=0).sqrt()
    error = (outputs["depth"][:, 0] - (along - half_chord)).abs()
    # rays end a millimetre in front of the surface, which is more along those that meet it at an angle
    assert bool((error <= 1.1e-3 * RADIUS / half_chord)[hit & clear].all())
    points = origins + outputs["depth"] * directions
    torch.testing.assert_close(outputs["normals"][hit] * 2 - 1, points[hit] / RADIUS, rtol=0, atol=1e-2)
    assert bool((outputs["rgb"][~hit] == 1.0).all()) and bool((outputs["rgb"][hit] < 0.95).all())


def test_rays_that_meet_nothing_end_at_the_box():
    model = make_sphere(make_model())
    origins = torch.tensor([[0.0, 1.0, 3.0], [0.0, 3.0, 3.0]])
    directions = torch.tensor([[0.0, 0.0, -1.0]] * 2)
    outputs = model(make_bundle(origins, directions))
    assert outputs["accumulation"].tolist() == [[0.0], [0.0]]
    assert float(outputs["depth"][0]) == pytest.approx(4.5) and float(outputs["depth"][1]) >= 0.0


def test_nears_and_fars_of_a_bundle_are_kept():
    model = make_sphere(make_model())
    origins, directions = torch.tensor([[0.0, 0.0, 3.0]]), torch.tensor([[0.0, 0.0, -1.0]])

    def hit(near, far):
        limits = {"nears": torch.tensor([[near]]), "fars": torch.tensor([[far]])}
        outputs = model(make_bundle(origins, directions, **limits))
        return bool(outputs["accumulation"][0, 0]), float(outputs["depth"][0, 0])

    assert hit(0.0, 3.0) == (True, pytest.approx(2.4, abs=4e-3))
    assert not hit(0.0, 2.3)[0]
    assert not hit(2.5, 9.0)[0]  # it begins behind the surface


def test_whole_images_render_with_the_folded_network():
    model = make_model(layer="eugen").eval()
    pose = look_at(torch.tensor([2.0, 1.0, 1.2]), torch.zeros(3))
    camera = Cameras(pose[None, :3], 20.0, 20.0, 8.0, 6.0, 16, 12)
    seen = []
    original = model.field.folded
    object.__setattr__(model.field, "folded", lambda: seen.append(original()) or seen[-1])
    outputs = model.get_outputs_for_camera(camera)
    assert len(seen) == 1 and seen[0] is not model.field
    flat = camera.generate_rays(0).flatten()
    plain = model(make_bundle(flat.origins, flat.directions))
    same = (outputs["accumulation"].view(-1, 1) == plain["accumulation"]).float().mean()
    assert float(same) > 0.98
    assert {"rgb", "accumulation", "depth", "normals"} == set(outputs)


def test_the_metrics_compare_depth_with_what_was_measured():
    model = make_model()
    depth = torch.full((4, 5, 1), 2.0)
    outputs = {"depth": depth, "accumulation": torch.ones(4, 5, 1), "rgb": torch.ones(4, 5, 3)}
    outputs["normals"] = outputs["rgb"]
    measured = torch.full((4, 5, 1), 2.1)
    measured[0] = 0.0  # five pixels without depth
    measured[1] = 3.0
    outputs["accumulation"][2] = 0.0
    metrics, images = model.get_image_metrics_and_images(
        outputs, {"depth_image": measured, "image": torch.zeros(4, 5, 3)}
    )
    assert metrics["surface_found"] == pytest.approx(10 / 15)
    assert metrics["depth_agreement"] == pytest.approx(5 / 15)
    assert metrics["depth_error_cm"] == pytest.approx((100.0 + 10.0) / 2, rel=1e-4)
    assert images["img"].shape == (4, 10, 3) and images["depth"].shape == (4, 10, 3)


@pytest.mark.parametrize(
    "option, value",
    [
        ("near", 0.0),
        ("beyond", -1.0),
        ("surface_spread", 0.0),
        ("truncation", 0.0),
        ("num_near_surface", -1),
        ("num_stratified", -1),
        ("trace_steps", 0),
        ("position_scale", 0.0),
        ("replace", (7,)),
        ("num_layers", 0),
    ],
)
def test_flags_out_of_range_are_named(option, value):
    with pytest.raises(ValueError, match=option.split("_")[0]):
        dataclasses.replace(METHODS["eugen-isdf-tiny"].pipeline.model, **{option: value}).check_flags()


@pytest.mark.parametrize("layer", ["dense", "eugen", "prp", "low-rank", "snnk"])
def test_every_kind_of_layer_has_a_gradient(layer):
    model = make_model(layer=layer).train()
    bundle, batch = depth_batch()
    sum(model.get_loss_dict(model(bundle), batch).values()).backward()
    norms = [float(weight.grad.norm()) for weight in model.field.parameters() if weight.grad is not None]
    assert len(norms) == len(list(model.field.parameters())) and max(norms) > 0


def test_the_full_size_is_the_one_of_the_paper():
    config = METHODS["eugen-isdf"].pipeline.model
    dense = dataclasses.replace(config, layer="dense", replace=None)
    assert sum(weight.numel() for weight in dense.build_field(AABB).parameters()) == 460_033
    samples = 1 + config.num_near_surface + config.num_stratified
    manager = METHODS["eugen-isdf"].pipeline.datamanager
    assert samples == 27 and (2 + manager.num_replayed) * manager.rays_per_frame * samples == 27_000
    assert config.num_features == 128 and len(config.replace) == 2


def test_unseen_space_bounds_distances_and_has_no_direction():
    plain, careful = (
        make_model(gradient_direction_weight=1.0),
        make_model(gradient_direction_weight=1.0, unseen_depth=0.3),
    )
    bundle, batch = depth_batch()
    outputs = plain.train()(bundle)
    generator = torch.Generator().manual_seed(3)
    unseen = torch.rand(outputs["points"].shape[:2], generator=generator)
    object.__setattr__(careful.seen, "unseen_distance", lambda points: unseen.flatten())
    terms, without = careful.loss_terms(outputs, batch), plain.loss_terms(outputs, batch)
    behind = outputs["distances"] > batch["distances"][:, None]
    target = point_bounds(outputs["points"], behind, batch["surface"], batch["surface_normals"])
    limited = target.bounds > unseen + 0.3
    assert 0.1 < float(limited.float().mean()) < 0.9
    expected = sdf_loss_terms(
        outputs["sdf"],
        outputs["gradient"],
        torch.where(limited, unseen + 0.3, target.bounds),
        target.directions * ~limited[..., None],
        careful.config.loss_weights(),
    )
    for name, term in expected.items():
        torch.testing.assert_close(terms[name], term)
        torch.testing.assert_close(terms[name][~limited], without[name][~limited])
    assert float(terms["gradient_direction"][limited].abs().max()) == 0.0
