"""Opens a trained dense run as the teacher of a transfer: one of ours, or nerfstudio's vanilla-nerf."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from eugen_fields.data.parsers.choose import set_up_parser
from eugen_fields.errors import InputError
from eugen_fields.fields.vanilla import vanilla_state
from eugen_fields.layers.kinds import layer_kind
from eugen_fields.models.nerf import NeRFModelConfig
from eugen_fields.models.planes import PlanesModelConfig
from eugen_fields.runs import (
    MODEL_CONFIGS,
    ClassData,
    RadianceRun,
    find_run,
    open_run,
    read_config,
    read_state,
    read_world_from_scene,
    resolve_device,
)
from eugen_fields.runs.restore import restore_config
from eugen_fields.runs.scene import find_scene
from eugen_fields.training.trainer import FieldTrainerConfig

VANILLA = "vanilla-nerf"
_TEACHERS = (NeRFModelConfig, PlanesModelConfig)


def open_teacher(
    path: Path,
    device: str | None,
    step: int | None,
    grid_resolution: int,
    methods: Mapping[str, FieldTrainerConfig],
) -> tuple[RadianceRun, FieldTrainerConfig]:
    """A dense run, and a configuration of ours that describes its data and its network.

    Args:
        path, device, step: as in runs.open_run.
        grid_resolution: cells along each axis of the occupancy grid that a vanilla-nerf run is given.
        methods: the default configuration of each method.

    Raises:
        InputError: as runs.open_run; or the run has other layers than dense ones.
    """
    folder = find_run(Path(path).expanduser())
    config_path = folder / "config.yml"
    data = read_config(config_path)
    method = str(data.get("method_name"))
    if method == VANILLA:
        config = restore_config(data, "eugen-nerf", config_path, methods)
        return _open_vanilla(folder, data, config, device, step, grid_resolution), config
    model_class = MODEL_CONFIGS.get(getattr(data["pipeline"].get("model"), "class_path", ""))
    if method not in methods or model_class not in _TEACHERS:
        known = [name for name, config in methods.items() if isinstance(config.pipeline.model, _TEACHERS)]
        raise InputError(f"{config_path} is of method {method}; a teacher is one of {', '.join((*known, VANILLA))}.")
    run = open_run(folder, device, step)
    assert isinstance(run, RadianceRun)
    dense = all(isinstance(layer, nn.Linear) for layer in run.field.trunk.layers)
    if not dense:
        advice = ""
        if layer_kind(run.model_config.layer).appends:
            advice = ", or train a smaller network of this kind from the start (--pipeline.model.num-features)"
        raise InputError(
            f"the run {folder} has {run.model_config.layer} layers; a teacher needs dense ones. Train one with "
            f"--pipeline.model.layer dense{advice}."
        )
    return run, restore_config(data, method, config_path, methods)


def _open_vanilla(
    folder: Path,
    data: ClassData,
    config: FieldTrainerConfig,
    device: str | None,
    step: int | None,
    grid_resolution: int,
) -> RadianceRun:
    """A vanilla-nerf run as one of ours: its fine field, and an occupancy grid that is found from its density."""
    state, checkpoint = read_state(folder, data, step)
    target = resolve_device(device)
    manager: Any = config.pipeline.datamanager
    parser = manager.dataparser
    parser.data = manager.data = find_scene(folder, parser, Path(manager.data))
    try:
        aabb = set_up_parser(parser).get_dataparser_outputs("train").scene_box.aabb.float()
    except OSError as error:
        raise InputError(f"the scene {parser.data} of the run {folder} cannot be read: {error}.") from None
    model = config.pipeline.model
    assert isinstance(model, NeRFModelConfig)
    model.architecture, model.layer, model.replace = "vanilla", "dense", None
    model.background = "white"  # its images are blended with white already
    model.grid_resolution = grid_resolution
    field = model.build_field(aabb)
    try:
        field.load_state_dict(vanilla_state(state["pipeline"]) | {"aabb": aabb})
    except (KeyError, RuntimeError) as error:
        first_line = str(error).splitlines()[0]
        raise InputError(f"checkpoint {checkpoint} is not of a vanilla-nerf of the stock size: {first_line}") from None
    field = field.to(target).eval().requires_grad_(False)
    grid = model.build_grid(aabb).to(target)
    grid.fill(field.density_alone)
    return RadianceRun(
        folder=folder,
        method_name=VANILLA,
        step=int(state["step"]),
        model_config=model,
        field=field,
        grid=grid,
        aabb=aabb,
        world_from_scene=read_world_from_scene(folder / "dataparser_transforms.json"),
    )
