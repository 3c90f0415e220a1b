"""The model of feature planes: its groups of parameters, losses, heads, sizes, and the flags that it refuses."""

from __future__ import annotations

import math
import sys
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from nerfstudio.cameras.camera_optimizers import CameraOptimizerConfig
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.data.scene_box import SceneBox

from eugen_fields.benchmark.quality.train import parameter_count, score_run
from eugen_fields.encodings import PlaneEncoding
from eugen_fields.layers import LAYER_KINDS
from eugen_fields.models import planes
from eugen_fields.models.planes import PlanesModelConfig
from eugen_fields.models.proposals.sizes import PLANES_SIZES
from eugen_fields.models.summary import multiplications

BOX = torch.tensor([[-1.0] * 3, [1.0] * 3])
SMALL = {"plane_resolutions": (8, 16), "plane_channels": 3, "proposal_resolutions": (8,), "proposal_channels": 2,
         "layer_width": 16, "feature_dim": 8, "color_width": 8, "num_features": 4, "proposal_width": 8,
         "proposal_samples": (16,), "num_samples": 8}  # fmt: skip
both_regimes = pytest.mark.parametrize("regime", ["bounded", "unbounded"])


def make_model(regime="bounded", **options):
    torch.manual_seed(0)
    config = PlanesModelConfig(size="tiny", regime=regime, **{"layer": "dense", **SMALL, **options})
    return config.setup(scene_box=SceneBox(aabb=BOX), num_train_data=3, metadata={})


def make_rays(count=40):
    generator = torch.Generator().manual_seed(0)
    origins = 3.0 * F.normalize(torch.randn(count, 3, generator=generator), dim=-1)
    toward = F.normalize(0.3 * torch.randn(count, 3, generator=generator) - origins, dim=-1)
    images = torch.arange(count)[:, None] % 3
    return RayBundle(origins=origins, directions=toward, pixel_area=torch.full((count, 1), 1e-5), camera_indices=images)


def losses_of(model, rays):
    outputs = model.train()(rays)
    return model.get_loss_dict(outputs, {"image": torch.full((len(rays), 3), 0.3)})


@both_regimes
@pytest.mark.parametrize("layer", LAYER_KINDS)
def test_every_kind_of_head_trains_all_of_its_parameters_and_renders_folded(regime, layer):
    model = make_model(regime, layer=layer, proposal_layer=layer, num_layers=2, appearance_dim=2)
    with torch.no_grad():
        model.field.trunk.layers[-1].bias[0] = 4.0  # more than the proposal expects
    losses = losses_of(model, make_rays())
    assert set(losses) == {"rgb_loss", "interlevel_loss", "distortion_loss"}
    sum(losses.values()).backward()
    for name, parameter in (*model.field.named_parameters(), *model.proposal.named_parameters()):
        assert parameter.grad is not None and bool(parameter.grad.isfinite().all()), name
        assert bool(parameter.grad.any()), name
    rays = make_rays(12)
    with torch.no_grad():
        plain = model.eval()(rays)
        image = model.get_outputs_for_camera_ray_bundle(rays.reshape((4, 3)))
    for name in ("rgb", "accumulation"):
        torch.testing.assert_close(image[name].flatten(0, 1), plain[name], rtol=1e-3, atol=1e-4)


@both_regimes
def test_planes_networks_and_proposals_are_groups_of_their_own(regime):
    model = make_model(regime, appearance_dim=2, camera_optimizer=CameraOptimizerConfig(mode="SO3xR3"))
    groups = model.get_param_groups()
    assert set(groups) == {"fields", "planes", "proposals", "camera_opt"}
    ids = [id(parameter) for group in groups.values() for parameter in group]
    assert len(ids) == len(set(ids))
    ours = {id(p) for name, p in model.named_parameters() if name != "device_indicator_param"}
    assert set(ids) == ours
    assert {id(p) for p in groups["planes"]} == {id(p) for p in model.field.position_encoding.parameters()}
    assert set(make_model(regime).get_param_groups()) == {"fields", "planes", "proposals"}


def test_bounded_models_have_a_grid_and_unbounded_ones_none():
    assert make_model().grid is not None and make_model("unbounded").grid is None


def test_corrected_cameras_learn_through_the_planes():
    model = make_model("unbounded", camera_optimizer=CameraOptimizerConfig(mode="SO3xR3"))
    losses_of(model, make_rays())["rgb_loss"].backward()
    gradient = model.camera_optimizer.pose_adjustment.grad
    assert bool(gradient.isfinite().all()) and bool((gradient.abs().sum(dim=-1) > 0).all())


def test_total_variation_is_a_loss_where_it_has_a_weight():
    assert "total_variation" not in losses_of(make_model(), make_rays())
    model = make_model(total_variation_weight=0.5)
    encodings = model.field.position_encoding, model.proposal.position_encoding
    expected = 0.5 * sum(encoding.total_variation() for encoding in encodings)
    torch.testing.assert_close(losses_of(model, make_rays())["total_variation"], expected)


def test_normals_are_gradients_of_the_density():
    model = make_model(output_normals=True).eval()
    normals = model(make_rays())["normals"]
    assert bool(((2.0 * normals - 1.0).norm(dim=-1) - 1.0).abs().max() < 1e-4)


def test_waves_and_sums_are_options():
    plain = make_model()
    model = make_model(position_frequencies=2, plane_combination="sum")
    assert model.field.trunk.in_dim == plain.field.trunk.in_dim + 12
    assert model.proposal.trunk.in_dim == plain.proposal.trunk.in_dim + 12
    assert model.field.position_encoding.combination == model.proposal.position_encoding.combination == "sum"
    assert math.isfinite(float(losses_of(model, make_rays())["rgb_loss"]))


# Sizes


@pytest.mark.parametrize("layer", ["dense", "eugen"])
def test_the_tiny_head_has_the_multiplications_it_promises(layer):
    options = {"norm": False} if layer == "eugen" else {}  # the norm adds one for each feature
    field = PlanesModelConfig(layer=layer, num_features=64, size="tiny", regime="bounded", **options).build_field(BOX)
    assert multiplications(field) == 35 * 64 + 64 * 33 + (32 + 27) * 64 + 64 * 3 == 8320
    entries = 3 * 8 * (32**2 + 64**2 + 128**2 + 256**2)
    assert sum(parameter.numel() for parameter in field.position_encoding.parameters()) == entries


@pytest.mark.parametrize("size", PLANES_SIZES)
@both_regimes
def test_every_size_builds(size, regime):
    config = PlanesModelConfig(size=size, regime=regime, plane_channels=1)
    config.check_flags()
    names = {name for name in PLANES_SIZES["tiny"]}
    assert set(PLANES_SIZES[size]) == names
    assert config.max_samples_per_ray() == {"default": 160, "tiny": 48}[size]


# Bad input


@pytest.mark.parametrize(
    "options, says",
    [
        ({"size": "huge"}, "size is 'huge'; it must be one of default, tiny"),
        ({"regime": "auto"}, "regime is still auto"),
        ({"encoding": "octree"}, "encoding is 'octree'; it must be planes or hash"),
        ({"plane_resolutions": ()}, r"resolutions are \(\)"),
        ({"plane_resolutions": (16, 1)}, r"resolutions are \(16, 1\)"),
        ({"proposal_channels": 0}, "channels is 0"),
        ({"plane_combination": "mean"}, "combination is 'mean'"),
        ({"position_frequencies": -1}, "num_frequencies is -1"),
        ({"total_variation_weight": -1.0}, "total_variation_weight is -1.0"),
        ({"total_variation_weight": math.nan}, "total_variation_weight is nan"),
        ({"total_variation_weight": 1.0, "encoding": "hash"}, "hash grid has no neighbours"),
    ],
)
def test_wrong_flags_are_refused_by_name(options, says):
    with pytest.raises(ValueError, match=says):
        PlanesModelConfig(**{"size": "tiny", "regime": "bounded", **SMALL, **options}).check_flags()


def test_planes_that_the_memory_cannot_hold_are_refused_with_a_size_that_fits(monkeypatch):
    monkeypatch.setattr(planes, "_free_memory", lambda: {"the machine": 200 * 2**20})
    config = PlanesModelConfig(size="tiny", regime="unbounded", plane_resolutions=(512, 2048))
    with pytest.raises(ValueError) as error:
        config.check_flags()
    said = str(error.value)
    assert "plane_resolutions are (512, 2048) with 8 channels" in said and "the machine has 0.2 GiB free" in said
    fits = said.split("--pipeline.model.plane-resolutions ")[1].removesuffix(" would fit")
    smaller = tuple(map(int, fits.split()))
    assert 4 * smaller[0] == pytest.approx(smaller[1], abs=4)
    entries = PlaneEncoding.parameter_count(smaller, 8) + PlaneEncoding.parameter_count((32, 64), 4)
    assert 190 * 2**20 < 28 * entries <= 200 * 2**20
    PlanesModelConfig(size="tiny", regime="unbounded", plane_resolutions=smaller)._check_memory()
    with pytest.raises(ValueError, match="--pipeline.model.proposal-resolutions"):
        PlanesModelConfig(size="tiny", regime="unbounded", proposal_resolutions=(4096,)).check_flags()


def test_free_memory_is_that_of_the_machine_and_of_its_gpu(monkeypatch):
    monkeypatch.setattr(planes.psutil, "virtual_memory", lambda: SimpleNamespace(available=123))
    assert planes._free_memory()["the machine"] == 123
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (45, 67))
    assert planes._free_memory() == {"the machine": 123, "the GPU": 45}


def test_hash_without_tiny_cuda_nn_says_what_would_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "tinycudann", None)  # an import of it raises
    with pytest.raises(ValueError, match="encoding is hash, but tiny-cuda-nn cannot be imported.*encoding planes"):
        PlanesModelConfig(size="tiny", regime="bounded", encoding="hash").check_flags()


# Training


def test_a_bounded_run_learns_the_sphere(bounded_planes_run):
    model = bounded_planes_run.pipeline.model
    assert model.field.bounded
    scores = score_run(bounded_planes_run, progress=False)
    assert scores["psnr"] > 25.0 > 11.0 > scores["empty_psnr"], scores
    assert 0.001 < float(model.field.footprint) < 0.1
    assert set(bounded_planes_run.optimizers.optimizers) == {"fields", "planes", "proposals"}
    assert parameter_count(bounded_planes_run) == sum(
        parameter.numel() for network in (model.field, model.proposal) for parameter in network.parameters()
    )


def test_an_unbounded_run_learns_the_photos(unbounded_planes_run):
    model = unbounded_planes_run.pipeline.model
    assert not model.field.bounded
    scores = score_run(unbounded_planes_run, progress=False)
    assert scores["psnr"] > scores["empty_psnr"] + 4.0, scores
    assert set(unbounded_planes_run.optimizers.optimizers) == {"fields", "planes", "proposals", "camera_opt"}
    assert bool(model.field.appearance.weight.detach().any(dim=-1).all()), "every image's code has moved"


@both_regimes
def test_samples_that_hardly_show_are_left_out_of_renders_and_change_nothing_that_is_seen(regime, monkeypatch):
    model = make_model(regime).eval()
    with torch.no_grad():
        model.field.trunk.layers[-1].bias[0] = 6.0  # most samples lie behind what is opaque
    rays = make_rays()
    rays = RayBundle(**{name: getattr(rays, name)[:, None] for name in ("origins", "directions", "pixel_area")})
    evaluated = []
    color = type(model.field).color

    def counted(field, features, *others):
        evaluated.append(features.shape[:-1].numel())
        return color(field, features, *others)

    monkeypatch.setattr(type(model.field), "color", counted)
    few = model.get_outputs_for_camera_ray_bundle(rays)
    monkeypatch.setattr("eugen_fields.models.proposals.model._LEAST_WEIGHT", -1.0)
    everything = model.get_outputs_for_camera_ray_bundle(rays)
    assert 0 < evaluated[0] < 0.7 * evaluated[1]
    assert float((few["rgb"] - everything["rgb"]).abs().max()) < 0.5 / 255
    for name in ("accumulation", "depth", "normals"):
        assert torch.equal(few[name], everything[name]), name
    with torch.enable_grad():
        plain = model.get_outputs(rays)
    torch.testing.assert_close(everything["rgb"], plain["rgb"], rtol=0, atol=1e-5)


def test_scores_render_no_normals():
    model = make_model().eval()
    with model.without_normals():
        assert "normals" not in model(make_rays())
    assert "normals" in model(make_rays())
