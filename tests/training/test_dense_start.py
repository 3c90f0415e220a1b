"""Trainings whose layers are dense at first and then of their kind: the switch, what it keeps, and runs about it."""

from __future__ import annotations

import copy
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from nerfstudio.engine.optimizers import Optimizers
from support.depth_recordings import write_transforms
from torch import nn

from eugen_fields.benchmark.quality.learning_curve import LearningCurve
from eugen_fields.benchmark.quality.train import make_config, multiplications
from eugen_fields.errors import InputError
from eugen_fields.layers import LAYER_KINDS, MLP, EUGenLinear
from eugen_fields.layers.kinds import DENSE_START_STEPS, LayerKind, replacements
from eugen_fields.methods import METHODS
from eugen_fields.models.mipnerf import MipNeRFModelConfig
from eugen_fields.models.nerf import NeRFModelConfig
from eugen_fields.runs import open_run
from eugen_fields.runs.checkpoints import list_checkpoints, read_checkpoint
from eugen_fields.training.dense_start import last_dense_steps, renew_optimizers
from eugen_fields.training.optimizers import FieldOptimizerConfig
from eugen_fields.training.pipeline import SharedWeightsPipeline
from eugen_fields.training.schedule import WarmupDecayConfig
from eugen_fields.training.trainer import FieldTrainer, FieldTrainerConfig
from eugen_fields.transfer import TransferOptions
from eugen_fields.transfer.new_run import transfer_run

STEPS, SWITCH = 12, 6
WIDTH = 16
NERF, MIP, ISDF = "eugen-nerf-tiny", "eugen-mipnerf-tiny", "eugen-isdf-tiny"
SMALL = {"layer_width": WIDTH, "num_features": 8, "dense_start": 0.5}
GRID = {"grid_resolution": 16, "grid_warmup_steps": 4, "grid_update_interval": 2, "samples_per_diagonal": 64}
RADIANCE = SMALL | GRID | {"num_layers": 3, "feature_dim": 8, "color_width": 16}
MODELS = {
    NERF: RADIANCE | {"layer": "eugen"},
    MIP: RADIANCE | {"layer": "eugen", "proposal_samples": (16,), "num_samples": 8},
    ISDF: SMALL,
}


@pytest.fixture(scope="module")
def scenes(sphere_scene: Path, capture_scene: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    recording = write_transforms(tmp_path_factory.mktemp("recordings") / "box", 6)
    return {"sphere": sphere_scene, "capture": capture_scene, "recording": recording}


def settings(method: str, scene: Path, output: Path, **options: Any) -> FieldTrainerConfig:
    config = make_config(method, scene, output, steps=STEPS, seed=0, model_options=MODELS[method] | options)
    config.steps_per_save, config.keep_checkpoints = 5, 0
    return config


def make_trainer(config: FieldTrainerConfig) -> FieldTrainer:
    """A trainer whose steps have equally many rays, and random numbers that depend on nothing but the step."""
    config.save_config()
    random.seed(0)  # in which order the images lie in memory
    torch.manual_seed(0)
    trainer: FieldTrainer = config.setup(local_rank=0, world_size=1)
    trainer.setup(test_mode="test")
    one_step, manager = trainer.train_iteration, trainer.pipeline.datamanager

    def seeded_step(step: int) -> Any:
        torch.manual_seed(step)
        if manager.train_pixel_sampler is not None:
            manager.train_pixel_sampler.set_num_rays_per_batch(60)
            manager._drawn = None  # type: ignore[attr-defined]  # rays are drawn for several steps at once
        return one_step(step)

    trainer.train_iteration = seeded_step  # type: ignore[method-assign]
    return trainer


@pytest.fixture(scope="module")
def trained(scenes: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> FieldTrainer:
    """The trainer, at its end, of a run that is dense for half of its steps."""
    trainer = make_trainer(settings(NERF, scenes["sphere"], tmp_path_factory.mktemp("dense_start")))
    trainer.train()
    return trainer


def layer_kinds(trunk: MLP) -> list[str]:
    names = {kind.cls: name for name, kind in LAYER_KINDS.items()}
    return [names[type(layer)] for layer in trunk.layers]


# The switch


def test_the_share_of_the_steps_is_rounded_up_and_leaves_one() -> None:
    assert [last_dense_steps(share, 2400) for share in (0.0, 0.2, 0.33, 1e-6)] == [0, 480, 792, 1]
    assert [last_dense_steps(0.1, steps) for steps in (1, 2, 10, 30, 31)] == [0, 1, 1, 3, 4]
    assert last_dense_steps(0.999, 100) == 99


CASES = {
    "nerf, low-rank": (NERF, "sphere", {"layer": "low-rank", "rank": WIDTH + 63}),
    "nerf, eugen with a skip connection": (NERF, "sphere", {"num_features": WIDTH, "skip_connections": (2,)}),
    "nerf, eugen with a norm": (NERF, "sphere", {"num_features": WIDTH, "norm": True, "replace": (0, 2)}),
    "mip-nerf, bounded": (MIP, "sphere", {"num_features": WIDTH}),
    "mip-nerf, unbounded": (MIP, "capture", {"num_features": WIDTH, "background": "white", "layer": "eugen"}),
    "mip-nerf, low-rank proposal": (MIP, "sphere", {"num_features": WIDTH, "proposal_layer": "low-rank"}),
    "isdf": (ISDF, "recording", {"num_features": WIDTH}),
}


@pytest.mark.parametrize("case", CASES)
def test_nothing_changes_at_the_switch_where_the_layers_can_be_what_the_dense_ones_are(
    case: str, scenes: dict[str, Path], tmp_path: Path
) -> None:
    method, scene, options = CASES[case]
    config = settings(method, scenes[scene], tmp_path, **options)
    config.prepare()
    torch.manual_seed(0)
    pipeline: SharedWeightsPipeline = config.pipeline.setup(device="cpu")
    model: Any = pipeline.model
    before = {name: copy.deepcopy(network.trunk) for name, network in model.networks().items()}
    kept = [layer for network in model.networks().values() for layer in network.trunk.layers]
    for trunk in before.values():
        assert set(layer_kinds(trunk)) == {"dense"}
    pipeline.train()
    if method == ISDF:
        pipeline.get_train_loss_dict(0)  # the clock comes to the first frame
    state = torch.get_rng_state()
    said = pipeline.end_dense_start(7)
    assert torch.equal(torch.get_rng_state(), state), "the steps after the switch draw as they would have"
    assert said.startswith("step 7: layers ") and "0.00" in said and not pipeline.in_dense_start
    wanted = config.pipeline.model.build_networks(model.field.aabb)  # type: ignore[attr-defined]
    inputs = model.trunk_inputs(pipeline.datamanager.next_train(0)[0])
    for name, network in model.networks().items():
        assert layer_kinds(network.trunk) == layer_kinds(wanted[name].trunk)
        new, old = network.trunk(inputs[name]).detach(), before[name](inputs[name]).detach()
        assert float((new - old).norm()) < 2e-3 * float(old.norm()), name
        shapes = {key: value.shape for key, value in network.trunk.state_dict().items()}
        assert shapes == {key: value.shape for key, value in wanted[name].trunk.state_dict().items()}
        assert all(parameter.requires_grad for parameter in network.parameters())
        dense = [layer for layer in network.trunk.layers if isinstance(layer, nn.Linear)]
        assert all(any(layer is old for old in kept) for layer in dense), "layers that stay are the same"


@pytest.mark.parametrize("layer", replacements())
def test_every_kind_can_follow_dense_layers(layer: str, scenes: dict[str, Path], tmp_path: Path) -> None:
    config = settings(NERF, scenes["sphere"], tmp_path, layer=layer, replace=(1,))
    config.prepare()
    pipeline: SharedWeightsPipeline = config.pipeline.setup(device="cpu")
    assert f"layers 1 are {layer} layers" in pipeline.end_dense_start(3)
    assert layer_kinds(pipeline.model.field.trunk) == ["dense", layer, "dense", "dense"]  # type: ignore[union-attr]


def test_what_cannot_be_fitted_ends_in_one_message(scenes: dict[str, Path], tmp_path: Path) -> None:
    config = settings(NERF, scenes["sphere"], tmp_path)
    config.prepare()
    pipeline: SharedWeightsPipeline = config.pipeline.setup(device="cpu")
    with torch.no_grad():
        pipeline.model.field.trunk.layers[1].weight.fill_(float("nan"))  # type: ignore[union-attr]
    with pytest.raises(InputError, match="step 9: the dense layers of the field cannot be fitted: .*NaN"):
        pipeline.end_dense_start(9)


# Optimisers


@pytest.mark.parametrize("algorithm", ["muon", "adam"])
def test_parameters_that_stay_keep_their_state_and_schedules_go_on(algorithm: str) -> None:
    torch.manual_seed(0)
    dense = MLP(6, 4, 16, 3, layer="dense")
    others = [nn.Parameter(torch.zeros(2))]
    config = {
        "fields": {
            "optimizer": FieldOptimizerConfig(algorithm=algorithm, lr=0.01, adam_lr=0.02),  # type: ignore[arg-type]
            "scheduler": WarmupDecayConfig(warmup_steps=4, final_factor=0.1, max_steps=100),
        },
        "camera_opt": {"optimizer": FieldOptimizerConfig(algorithm="adam", lr=0.1), "scheduler": WarmupDecayConfig()},
    }
    optimizers = Optimizers(config, {"fields": list(dense.parameters()), "camera_opt": others})
    cameras = optimizers.optimizers["camera_opt"]

    def train(network: MLP, steps: int) -> list[float]:
        rates = []
        for step in range(steps):
            optimizers.zero_grad_all()
            (network(torch.randn(8, 6)).square().mean() + others[0].sum()).backward()
            rates.append(optimizers.optimizers["fields"].param_groups[0]["lr"])
            optimizers.optimizer_step_all()
            optimizers.scheduler_step_all(step)
        return rates

    def of_parameters(optimizer: Any) -> dict[Any, Any]:
        parts = getattr(optimizer, "parts", {"all": optimizer})
        return {parameter: state for part in parts.values() for parameter, state in part.state.items()}

    train(dense, 30)
    schedule: Any = optimizers.schedulers["fields"]
    schedule.base_lrs = [0.5 * rate for rate in schedule.base_lrs]  # as a recovery does
    (last,) = train(dense, 1)
    old = of_parameters(optimizers.optimizers["fields"])
    new = dense.with_layers("eugen", num_features=8)
    for index in (0, 3):
        new.layers[index] = dense.layers[index]
    renew_optimizers(optimizers, {"fields": list(new.parameters()), "camera_opt": others}, 0.5)
    found = of_parameters(optimizers.optimizers["fields"])
    stay = [*dense.layers[0].parameters(), *dense.layers[3].parameters()]
    assert set(found) == set(stay) and all(found[parameter] is old[parameter] for parameter in stay)
    assert optimizers.optimizers["camera_opt"] is cameras
    rates = train(new, 40)
    settings_of: Any = config["fields"]["scheduler"]
    assert last == pytest.approx(0.01 * settings_of.factor(30, 0.30)), "the recovery takes effect a step later"
    for after, rate in enumerate(rates):
        warm = min(1.0, (after + 1) / 20)
        assert rate == pytest.approx(0.25 * warm * 0.01 * settings_of.factor(31 + after, (31 + after) / 100))
    assert all(parameter in of_parameters(optimizers.optimizers["fields"]) for parameter in new.parameters())


def test_a_recovery_does_not_bring_the_dense_layers_back(trained: FieldTrainer) -> None:
    recovery: Any = trained.recovery
    weights, states = recovery._kept
    assert recovery._kept_step == SWITCH - 1
    assert set(weights) == set(trained.pipeline.model.state_dict())
    trained.pipeline.model.load_state_dict(weights)
    trained.optimizers.optimizers["fields"].load_state_dict(copy.deepcopy(states["fields"]))


# Runs


def test_a_run_opens_before_and_after_the_switch(trained: FieldTrainer) -> None:
    folder = trained.config.get_base_dir()
    runs = {step: open_run(folder, "cpu", step) for step, _ in list_checkpoints(trained.checkpoint_dir)}
    assert list(runs) == [5, 10, 11]
    assert layer_kinds(runs[5].field.trunk) == ["dense"] * 4 and runs[5].model_config.layer == "dense"
    for step in (10, 11):
        assert layer_kinds(runs[step].field.trunk) == ["dense", "eugen", "eugen", "dense"]
    layer: Any = runs[11].field.trunk.layers[1]
    assert (layer.norm, layer.projection_bias, layer.num_features) == (False, True, 8)
    field: Any = trained.pipeline.model.field  # type: ignore[union-attr]
    assert multiplications(trained) < sum(part.in_features * part.out_features for part in dense_like(field))


def dense_like(field: Any) -> list[Any]:
    return [*field.trunk.layers, *field.color_head.layers]


@pytest.mark.parametrize("method, scene, options", [(MIP, "capture", {"background": "white"}), (ISDF, "recording", {})])
def test_other_methods_train_through_the_switch(
    method: str, scene: str, options: dict[str, Any], scenes: dict[str, Path], tmp_path: Path
) -> None:
    config = settings(method, scenes[scene], tmp_path, **options)
    trainer = make_trainer(config)
    trainer.train()
    kinds = {step: (["dense"] * 2 if step < SWITCH else ["dense", "eugen"]) for step in (5, 10, 11)}
    evaluated: SharedWeightsPipeline = copy.deepcopy(config.pipeline).setup(device="cpu", test_mode="test")
    for step, path in list_checkpoints(trainer.checkpoint_dir):
        run = open_run(config.get_base_dir(), "cpu", step)
        state = read_checkpoint(path)["pipeline"]
        evaluated.load_pipeline(state, step)  # as ns-eval and ns-viewer do, and once more for a later step
        networks = dict(evaluated.model.networks())  # type: ignore[operator]
        assert evaluated.in_dense_start == (step < SWITCH)
        opened = {"field": run.field} | ({} if method == ISDF else {"proposal": run.proposal})  # type: ignore[attr-defined]
        for name, network in opened.items():
            assert set(layer_kinds(network.trunk)) == set(kinds[step]), name
            weights = networks[name].state_dict()
            assert_equal(dict(weights), dict(network.state_dict()))


def test_a_dense_checkpoint_is_a_teacher_of_other_layers(trained: FieldTrainer, tmp_path: Path) -> None:
    options = TransferOptions(run=trained.config.get_base_dir(), step=5, num_samples=500, output_dir=tmp_path)
    options.num_features, options.device = 4, "cpu"
    folder, _ = transfer_run(options, METHODS, progress=False)
    run = open_run(folder, "cpu")
    assert run.model_config.dense_start == 0.0
    assert layer_kinds(run.field.trunk) == ["dense", "eugen", "eugen", "dense"]


@pytest.mark.parametrize("from_step", [5, 10])
def test_a_resumed_training_ends_as_one_that_was_never_stopped(
    from_step: int, trained: FieldTrainer, scenes: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    config = settings(NERF, scenes["sphere"], tmp_path)
    config.load_dir, config.load_step = trained.checkpoint_dir, from_step
    resumed = make_trainer(config)
    assert resumed.pipeline.in_dense_start == (from_step < SWITCH)
    resumed.train()
    printed = " ".join(capsys.readouterr().out.split())
    assert (f"step {SWITCH}: layers 1, 2 are eugen layers from now on (relative errors" in printed) == (from_step == 5)
    first, second = [read_checkpoint(list_checkpoints(run.checkpoint_dir)[-1][1]) for run in (trained, resumed)]
    assert_equal(first, second)


def assert_equal(first: Any, second: Any, name: str = "state") -> None:
    assert type(first) is type(second), name
    if isinstance(first, dict):
        assert first.keys() == second.keys(), name
        for key in first:
            assert_equal(first[key], second[key], f"{name}.{key}")
    elif isinstance(first, (list, tuple)):
        assert len(first) == len(second), name
        for index, (one, other) in enumerate(zip(first, second)):
            assert_equal(one, other, f"{name}.{index}")
    elif isinstance(first, torch.Tensor):
        assert torch.equal(first, second), name
    else:
        assert first == second, name


def test_a_dense_checkpoint_is_refused_where_no_dense_start_is_asked_for(
    trained: FieldTrainer, scenes: dict[str, Path], tmp_path: Path
) -> None:
    config = settings(NERF, scenes["sphere"], tmp_path, dense_start=0.0)
    config.load_dir, config.load_step = trained.checkpoint_dir, 5
    with pytest.raises(InputError, match="checkpoint of step 5 is from the dense start .*--pipeline.model.dense-start"):
        make_trainer(config)


@pytest.mark.parametrize("steps, later", [(2400, 900), (900, 2400)])
def test_a_resumed_training_begins_as_its_run_did_however_many_steps_there_are_now(
    steps: int, later: int, scenes: dict[str, Path], tmp_path: Path
) -> None:
    first = make_config("eugen-nerf-tiny", scenes["sphere"], tmp_path, steps=steps, layer="eugen")
    first.save_config()
    for again in ("load_dir", "load_checkpoint"):
        folder_of_later = tmp_path / "later"
        resumed = make_config("eugen-nerf-tiny", scenes["sphere"], folder_of_later, steps=later, layer="eugen")
        folder = first.get_checkpoint_dir()
        folder.mkdir(exist_ok=True)
        setattr(resumed, again, folder if again == "load_dir" else folder / "step-000000010.ckpt")
        resumed.prepare()
        assert resumed.pipeline.model.dense_start == (0.2 if steps == 2400 else 0.0)  # type: ignore[attr-defined]


# Flags


@pytest.mark.parametrize(
    "method, changes, steps, share",
    [
        ("eugen-nerf-tiny", {}, 2400, 0.0),
        ("eugen-nerf-tiny", {"layer": "eugen"}, 2400, 0.2),
        ("eugen-nerf-tiny", {"layer": "eugen"}, DENSE_START_STEPS - 1, 0.0),
        ("eugen-nerf-tiny", {"layer": "prp"}, 2400, 0.0),
        ("eugen-nerf-tiny", {"backend": "tcnn", "layer": "eugen"}, 2400, 0.0),
        ("eugen-nerf-tiny", {"layer": "eugen", "dense_start": 0.0}, 2400, 0.0),
        ("eugen-nerf-tiny", {"dense_start": 0.4, "layer": "prp"}, 50, 0.4),
        ("eugen-mipnerf-tiny", {"regime": "bounded", "layer": "eugen"}, 2400, 0.2),
        ("eugen-mipnerf-tiny", {"regime": "unbounded", "layer": "eugen"}, 2400, 0.0),
        ("eugen-nerf", {}, 30_000, 0.0),
    ],
)
def test_whether_a_training_begins_dense_follows_from_its_method_and_length(
    method: str, changes: dict[str, Any], steps: int, share: float, scenes: dict[str, Path], tmp_path: Path
) -> None:
    config = make_config(method, scenes["sphere"], tmp_path, steps=steps, model_options=changes)
    config.prepare()
    assert config.pipeline.model.dense_start == share  # type: ignore[attr-defined]


@pytest.mark.parametrize("share", [-0.1, 1.0, 1.5, float("nan")])
def test_a_share_out_of_range_is_refused(share: float) -> None:
    for config in (NeRFModelConfig(dense_start=share), MipNeRFModelConfig(dense_start=share, regime="bounded")):
        with pytest.raises(ValueError, match=rf"dense_start is {share}; it must be at least 0 and below 1"):
            config.check_flags()


class Unfitted(nn.Linear):
    """A layer of which nothing is known."""


def test_kinds_that_cannot_be_fitted_are_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LAYER_KINDS, "odd", LayerKind("odd", Unfitted))
    odd: Any = "odd"
    for config in (
        NeRFModelConfig(layer=odd, dense_start=0.2),
        MipNeRFModelConfig(proposal_layer=odd, dense_start=0.2, regime="bounded"),
    ):
        with pytest.raises(ValueError, match="dense_start is 0.2, but odd layers cannot be fitted"):
            config.check_flags()
    NeRFModelConfig(layer=odd).check_flags()


def test_layers_without_biases_are_refused() -> None:
    with pytest.raises(ValueError, match="dense_start is 0.2, .* tcnn"):
        NeRFModelConfig(dense_start=0.2, backend="tcnn").check_flags()


def test_dense_layers_stay_dense_in_one_line(
    scenes: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    config = settings(NERF, scenes["sphere"], tmp_path, layer="dense")
    config.prepare()
    assert "dense-start changes nothing where all layers are dense" in " ".join(capsys.readouterr().out.split())
    pipeline: SharedWeightsPipeline = config.pipeline.setup(device="cpu")
    assert not pipeline.in_dense_start


def test_trainings_of_unknown_length_are_refused(scenes: dict[str, Path], tmp_path: Path) -> None:
    config = settings(ISDF, scenes["recording"], tmp_path)
    config.pipeline.datamanager.clock = "wall"  # type: ignore[attr-defined]
    with pytest.raises(InputError, match="dense-start is a share .*clock wall"):
        config.prepare()
    with pytest.raises(InputError, match="dense_start .* budget of seconds"):
        LearningCurve(settings(NERF, scenes["sphere"], tmp_path), 2, 1, seconds=10.0)
    config = settings(NERF, scenes["sphere"], tmp_path)
    config.dense_start_rate_factor = 0.0
    with pytest.raises(InputError, match="--dense-start-rate-factor is 0.0"):
        config.prepare()


@pytest.mark.parametrize(
    "flags, norm, projection_bias",
    [
        ({}, True, False),
        ({"dense_start": 0.2}, False, True),
        ({"dense_start": 0.2, "norm": True}, True, True),
        ({"dense_start": 0.2, "projection_bias": False}, True, False),
        ({"dense_start": 0.2, "order": 2}, True, False),
        ({"dense_start": 0.2, "train_projections": False}, True, False),
        ({"norm": False, "projection_bias": True}, False, True),
    ],
)
def test_the_flags_say_what_the_layers_are_after_the_fit(
    flags: dict[str, Any], norm: bool, projection_bias: bool
) -> None:
    config = NeRFModelConfig(layer_width=WIDTH, num_layers=2, skip_connections=(), **flags)
    layer = config.build_field(torch.tensor([[-1.0] * 3, [1.0] * 3])).trunk.layers[1]
    assert isinstance(layer, EUGenLinear)
    assert (layer.norm, layer.projection_bias) == (norm, projection_bias)
