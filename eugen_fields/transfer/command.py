"""The eugen-transfer command: a trained dense run becomes one with EUGen, PRP or low-rank layers, without images."""

from __future__ import annotations

import copy
import json
import os
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from eugen_fields.layers.kinds import layer_kind, layer_options, options_from
from eugen_fields.layers.names import ReplacementName

if TYPE_CHECKING:
    from eugen_fields.fields import RadianceField
    from eugen_fields.layers.fitting.transfer import TransferReport
    from eugen_fields.runs import RadianceRun
    from eugen_fields.training.trainer import FieldTrainerConfig
    from eugen_fields.transfer.rays import TrainingRays


@dataclass
class TransferOptions:
    """Fits new layers to those of a trained dense run in closed form, on rays of its training cameras (no image is
    read), and writes a run that ns-eval, ns-viewer, ns-export and eugen-export open like any other."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Folder of the trained run: one of ours with layer dense, or of nerfstudio's vanilla-nerf."""
    layer: ReplacementName = "eugen"
    """Kind of the new layers."""
    num_features: int = 64
    """EUGen, snnk: random features (m). Low-rank: the rank, where --rank is 0."""
    rank: int = 0
    """PRP: rank of the extra low-rank term. Low-rank: the rank."""
    matrix: Literal["gaussian", "ternary", "orthogonal", "hadamard"] = "orthogonal"
    """PRP: the fixed random matrix."""
    replace: tuple[int, ...] | None = None
    """Trunk layers to replace (0 is the first). Default: every hidden layer but the first."""
    best: int = 0
    """Replace this many layers: those that, replaced alone, change the network's output least (instead of
    --replace)."""
    projections: Literal["neurons", "mixed", "principal", "random"] = "neurons"
    """EUGen: projections picked among the trained layer's neurons, among those and linear functions of its inputs,
    from the principal directions of its inputs, or random."""
    sequential: bool = True
    """Fit each layer on the new network's own activations. False: on the trained one's."""
    ridge: float = 1e-6
    """Penalty of the regression, relative to the mean square of the features."""
    num_samples: int = 100_000
    """Samples on rays of training cameras, where the field has density: the inputs of the fit."""
    finetune_steps: int = 0
    """Steps of gradient descent on the new layers afterwards: both fields render training rays and the difference
    falls. 0: the closed form alone."""
    finetune_rate: float = 4e-3
    """Learning rate of these steps."""
    finetune_samples: int = 1 << 13
    """Samples of one of these steps."""
    grid_resolution: int = 128
    """vanilla-nerf: cells of the occupancy grid along each axis."""
    output_dir: Path | None = None
    """The new run goes to OUTPUT_DIR/<experiment>/<method>/<name>. Default: beside the old one."""
    name: str | None = None
    """Name of the new run. Default: that of the old one with the layer kind behind it."""
    seed: int = 0
    """Of the rays, the layers' random numbers and the fine-tuning."""
    device: str | None = None
    """Device of the fit, such as cpu or cuda:0. Default: CUDA if there is one, else the CPU."""
    step: int | None = None
    """Training step of the checkpoint. Default: the newest."""

    def layer_options(self) -> dict[str, Any]:
        """Options of the new layers for their kind."""
        return options_from(self, self.layer)


def transfer_field(
    run: RadianceRun, rays: TrainingRays, options: TransferOptions, *, random_start: bool = False, progress: bool = True
) -> tuple[RadianceField, TransferReport]:
    """The fitted (and fine-tuned) copy of a run's field, and the report of the closed form with the seconds of both.

    Args:
        random_start: draw the new layers anew in place of the closed form, which then only chooses the layers: the
            baseline that shows what the closed form is worth.

    Raises:
        InputError: an option that the field or the layer kind does not take, or too few samples.
    """
    from tqdm import tqdm

    from eugen_fields.errors import InputError
    from eugen_fields.layers.fitting.transfer import transfer
    from eugen_fields.transfer.rays import TrunkInputs, distill_rays

    field, device = run.field, run.field.aabb.device
    inputs = TrunkInputs(field, rays.positions(options.num_samples, options.seed))
    settings: dict[str, Any] = options.layer_options() | {"layer": options.layer, "ridge": options.ridge}
    if options.layer == "eugen":
        settings["projections"] = options.projections
    try:
        replace = options.replace
        if options.best > 0:
            every = field.trunk.with_layers(options.layer, seed=0, **options.layer_options()).replace
            errors = {
                index: transfer(field.trunk, inputs, replace=(index,), seed=options.seed, **settings)[1].relative_error
                for index in tqdm(every, desc="Trying layers", unit="layer", disable=not progress)
            }
            replace = tuple(sorted(sorted(errors, key=lambda index: errors[index])[: options.best]))
        trunk, report = transfer(
            field.trunk, inputs, replace=replace, sequential=options.sequential, seed=options.seed, **settings
        )
    except ValueError as error:
        raise InputError(f"{error}.") from None
    if random_start:
        drawn = {"norm": False, "projection_bias": True} if options.layer == "eugen" else {}
        settings = options.layer_options() | drawn
        trunk = field.trunk.with_layers(options.layer, trunk.replace, seed=options.seed, **settings)
        report.fit_seconds = 0.0
    student = copy.deepcopy(field)
    student.trunk = trunk.to(device)
    if options.finetune_steps > 0:
        start = time.perf_counter()
        new_layers = [student.trunk.layers[index] for index in student.trunk.replace]
        trained = [parameter.requires_grad_(True) for layer in new_layers for parameter in layer.parameters()]
        distill_rays(
            field,
            student,
            trained,  # type: ignore[arg-type]
            rays,
            options.finetune_steps,
            learning_rate=options.finetune_rate,
            num_samples=options.finetune_samples,
            seed=options.seed,
            progress=(lambda steps: tqdm(steps, desc="Fine-tuning", unit="step", disable=not progress)),
        )
        report.finetune_seconds = time.perf_counter() - start
    return student.requires_grad_(False).eval(), report


def training_rays(run: RadianceRun, config: FieldTrainerConfig) -> TrainingRays:
    """Rays of the cameras a run was trained with. Raises InputError where its scene is gone or damaged."""
    from eugen_fields.data.checks import check_scene
    from eugen_fields.transfer.rays import TrainingRays

    manager = config.pipeline.datamanager
    check_scene(manager.dataparser, manager.data, splits=("train",), images=False)  # type: ignore[attr-defined]
    parser = copy.deepcopy(manager.dataparser)  # type: ignore[attr-defined]
    parser.data = manager.data
    cameras = parser.setup().get_dataparser_outputs("train").cameras
    return TrainingRays(cameras, run.grid, run.step_size, run.model_config.near_plane)


def transfer_run(options: TransferOptions, *, progress: bool = True) -> tuple[Path, TransferReport]:
    """Does what the command does; returns the folder of the new run and the report.

    Raises:
        InputError: no such run, a run that cannot be a teacher, a bad option, or the output cannot be written.
    """
    from eugen_fields.errors import InputError
    from eugen_fields.transfer.teacher import open_teacher

    if options.best and options.replace is not None:
        raise InputError("--best and --replace both say which layers to replace; give one of them.")
    for name in ("num_samples", "num_features", "finetune_samples"):
        if getattr(options, name) < 1:
            raise InputError(f"--{name.replace('_', '-')} is {getattr(options, name)}; it must be at least 1.")
    if options.finetune_steps < 0 or options.best < 0 or options.rank < 0:
        raise InputError("--finetune-steps, --best and --rank must be 0 or more.")
    run, config = open_teacher(options.run, options.device, options.step, options.grid_resolution)
    folder = _new_folder(options, run, config)
    student, report = transfer_field(run, training_rays(run, config), options, progress=progress)
    _write_run(folder, run, config, student, report, options)
    return folder, report


def _new_folder(options: TransferOptions, run: RadianceRun, config: FieldTrainerConfig) -> Path:
    """Sets where the configuration puts the new run; refuses a place that is taken or cannot be written to."""
    from eugen_fields.errors import InputError

    size = "" if layer_kind(options.layer).size is None else options.num_features
    suffix = f"{options.layer}{size}"
    config.timestamp = options.name or f"{run.folder.name}-{suffix}"
    if options.output_dir is not None:
        config.output_dir = options.output_dir.expanduser()
    elif len(run.folder.resolve().parents) > 2:
        config.output_dir = run.folder.resolve().parents[2]
    config.experiment_name = config.experiment_name or run.folder.resolve().parents[1].name
    folder = config.get_base_dir()
    if folder.exists():
        raise InputError(f"{folder} is there already; nothing is overwritten. Give another --name or --output-dir.")
    config._check_output()
    folder.rmdir()  # made by the check; the finished run is moved here in one piece
    return folder


def _write_run(
    folder: Path,
    run: RadianceRun,
    config: FieldTrainerConfig,
    student: Any,
    report: TransferReport,
    options: TransferOptions,
) -> None:
    """Writes the new run beside its place, then renames it."""
    import shutil

    import yaml
    from nerfstudio.data.scene_box import SceneBox

    from eugen_fields.runs.checkpoints import write_checkpoint

    trunk, model_config = student.trunk, config.pipeline.model
    model_config.layer = trunk.layer  # type: ignore[attr-defined]
    model_config.replace = trunk.replace  # type: ignore[attr-defined]
    first = trunk.layers[trunk.replace[0]]
    for name in layer_options(trunk.layer):
        if hasattr(first, name) and hasattr(model_config, name):
            setattr(model_config, name, getattr(first, name))
    config.optimizers["fields"]["optimizer"].lr = 0.0  # the rate of the new layer kind
    config._fill_in_optimizers()

    model = model_config.setup(scene_box=SceneBox(aabb=run.aabb), num_train_data=1, metadata={})
    model.field.load_state_dict(student.cpu().state_dict())
    model.grid.load_state_dict(run.grid.cpu().state_dict())
    groups = {name: (config.optimizers[name], params) for name, params in model.get_param_groups().items()}
    optimizers = {name: group["optimizer"].setup(params=params) for name, (group, params) in groups.items()}
    schedulers = {
        name: group["scheduler"].setup().get_scheduler(optimizers[name], group["optimizer"].lr)
        for name, (group, _) in groups.items()
        if group.get("scheduler") is not None
    }
    state = {
        "step": run.step,
        "pipeline": {f"_model.{name}": value for name, value in model.state_dict().items()},
        "optimizers": {name: optimizer.state_dict() for name, optimizer in optimizers.items()},
        "schedulers": {name: scheduler.state_dict() for name, scheduler in schedulers.items()},
        "scalers": {},
    }
    unfinished = folder.with_name(f".unfinished-{folder.name}")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        unfinished.mkdir(parents=True)
        write_checkpoint(state, unfinished / config.relative_model_dir, run.step, keep=None)
        (unfinished / "config.yml").write_text(yaml.dump(config), encoding="utf-8")
        transforms = run.folder / "dataparser_transforms.json"
        if transforms.exists():
            shutil.copy(transforms, unfinished)
        summary = {"teacher": str(run.folder), "teacher_step": run.step, "seed": options.seed} | report.as_dict()
        (unfinished / "transfer.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
        os.replace(unfinished, folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def main() -> None:
    """Entry point of eugen-transfer."""
    warnings.filterwarnings("ignore", category=UserWarning)
    warnings.filterwarnings("ignore", category=FutureWarning)
    folder, report = transfer_run(tyro.cli(TransferOptions))
    seconds = f"closed form {report.fit_seconds:.1f} s"
    if report.finetune_seconds:
        seconds += f", fine-tuning {report.finetune_seconds:.1f} s"
    print(f"{report.markdown()}\n{report.samples:,} samples; {seconds}; relative errors are those of the closed form")
    print(f"run      {folder}\nscore    ns-eval --load-config {folder / 'config.yml'} --output-path scores.json")
