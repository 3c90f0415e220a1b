"""The run that a transfer writes: that of the teacher with new layers, which opens like any other."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from nerfstudio.data.scene_box import SceneBox

from eugen_fields.errors import InputError
from eugen_fields.layers.kinds import layer_kind, layer_options
from eugen_fields.models.proposals.model import ProposalModel
from eugen_fields.progress import Progress
from eugen_fields.runs import RadianceRun
from eugen_fields.runs.checkpoints import write_checkpoint
from eugen_fields.runs.scene import SCENE_FILE
from eugen_fields.training.trainer import FieldTrainerConfig
from eugen_fields.transfer.fit import FieldTransfer, transfer_field
from eugen_fields.transfer.options import NUM_FEATURES, TransferOptions
from eugen_fields.transfer.rays import training_rays
from eugen_fields.transfer.teacher import open_teacher


def transfer_run(
    options: TransferOptions, methods: Mapping[str, FieldTrainerConfig], *, progress: Progress = True
) -> tuple[Path, FieldTransfer]:
    """Writes the run with new layers that the options describe.

    Args:
        methods: the default configuration of each method, such as eugen_fields.methods.METHODS.

    Returns:
        the folder of the new run, and what became of the field.

    Raises:
        InputError: no such run, a run that cannot be a teacher, a bad option, a budget that no network meets,
            or the output cannot be written.
    """
    options.check()
    run, config = open_teacher(options.run, options.device, options.step, options.grid_resolution, methods)
    folder = _new_folder(options, run, config)
    rays = training_rays(run, config)
    transferred = transfer_field(run, config, rays, options, progress=progress)
    _write_run(folder, run, config, transferred, len(rays.cameras))
    return folder, transferred


def _new_folder(options: TransferOptions, run: RadianceRun, config: FieldTrainerConfig) -> Path:
    """Sets where the configuration puts the new run; refuses a place that is taken or cannot be written to."""
    size = "" if layer_kind(options.layer).size is None else options.num_features or NUM_FEATURES
    if options.budget is not None:  # what is found within it is not known yet
        size = f"-{getattr(options, options.budget)}-{options.budget}"
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
    config.check_output()
    folder.rmdir()  # made by the check; the finished run is moved here in one piece
    return folder


def _write_run(
    folder: Path, run: RadianceRun, config: FieldTrainerConfig, transferred: FieldTransfer, num_cameras: int
) -> None:
    """Writes the new run beside its place, then renames it. Corrections of the training cameras begin anew."""
    trunk = transferred.field.trunk
    model_config: Any = config.pipeline.model
    model_config.layer, model_config.replace, model_config.dense_start = trunk.layer, trunk.replace, 0.0
    first = trunk.layers[trunk.replace[0]]
    for name in layer_options(trunk.layer):
        if hasattr(first, name) and hasattr(model_config, name):
            setattr(model_config, name, getattr(first, name))
    optimizer = config.optimizers["fields"]["optimizer"]
    optimizer.lr = optimizer.adam_lr = 0.0  # the rates of the new layer kind
    config.fill_in_optimizers()

    manager: Any = config.pipeline.datamanager
    num_images = num_cameras * manager.num_scales
    model = model_config.setup(scene_box=SceneBox(aabb=run.aabb), num_train_data=num_images, metadata={})
    model.field.load_state_dict(transferred.field.cpu().state_dict())
    if model.grid is not None:
        model.grid.load_state_dict(run.grid.cpu().state_dict())
    if isinstance(model, ProposalModel):
        assert run.proposal is not None  # build_model has asked for it
        model.proposal.load_state_dict(run.proposal.cpu().state_dict())
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
        for path in (run.folder / "dataparser_transforms.json", run.folder / SCENE_FILE):
            if path.exists():
                shutil.copy(path, unfinished)
        summary = {"teacher": str(run.folder), "teacher_step": run.step, "seed": transferred.options.seed}
        summary |= transferred.as_dict()
        (unfinished / "transfer.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
        os.replace(unfinished, folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
