"""Opens a finished or still training run safely: the one door for meshing, benchmark and viewer.

config.yml is read as data and checkpoints as weights only, so that a run from a stranger can be opened.
"""

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from eugen_fields.errors import InputError
from eugen_fields.fields import ConeField, RadianceField
from eugen_fields.fields.sdf import SDFField
from eugen_fields.models.isdf import ISDFModelConfig
from eugen_fields.models.mipnerf import MipNeRFModelConfig
from eugen_fields.models.nerf import NeRFModelConfig
from eugen_fields.models.planes import PlanesModelConfig
from eugen_fields.models.proposals.config import ProposalModelConfig
from eugen_fields.models.radiance import RadianceModelConfig
from eugen_fields.runs.checkpoints import (
    DENSE_START,
    checkpoint_path,
    list_checkpoints,
    read_checkpoint,
    read_newest_checkpoint,
)
from eugen_fields.runs.config_file import ClassData, read_config
from eugen_fields.sampling import OccupancyGrid, SeenCells

MODEL_CONFIGS: dict[str, type[RadianceModelConfig] | type[ISDFModelConfig]] = {
    "eugen_fields.models.nerf.NeRFModelConfig": NeRFModelConfig,
    "eugen_fields.models.mipnerf.MipNeRFModelConfig": MipNeRFModelConfig,
    "eugen_fields.models.planes.PlanesModelConfig": PlanesModelConfig,
    "eugen_fields.models.isdf.ISDFModelConfig": ISDFModelConfig,
}
"""The only classes that are built from a config.yml."""

_SEARCH_DEPTH = 4
"""Folders below a parent in which a run is looked for (nerfstudio: output folder/experiment/method/time)."""


def find_run(path: Path) -> Path:
    """The folder of the run that a path means.

    Args:
        path: the run's folder, its config.yml, its checkpoint folder, or a folder above exactly one run.

    Raises:
        InputError: nothing there, no run, or several of them (listed, the newest first).
    """
    if not path.exists():
        raise InputError(f"there is no run {path}. Give the folder that ns-train named (it holds config.yml).")
    if path.is_file():
        if path.name != "config.yml":
            raise InputError(f"{path} is not a run. Give the run's folder or its config.yml.")
        return path.parent
    if (path / "config.yml").is_file():
        return path
    if list_checkpoints(path):
        if (path.parent / "config.yml").is_file():
            return path.parent
        raise InputError(
            f"{path} holds checkpoints, but there is no config.yml in {path.parent}: the run is incomplete."
        )
    found = []
    for folder, subfolders, files in os.walk(path):
        if "config.yml" in files:
            found.append(Path(folder))
        if "config.yml" in files or len(Path(folder).relative_to(path).parts) >= _SEARCH_DEPTH:
            subfolders.clear()
    if not found:
        raise InputError(f"{path} holds no run: no config.yml in it or in the {_SEARCH_DEPTH} levels of folders below.")
    if len(found) > 1:
        found.sort(key=lambda folder: (folder / "config.yml").stat().st_mtime, reverse=True)
        names = "\n  ".join(str(folder) for folder in found[:20]) + ("\n  ..." if len(found) > 20 else "")
        raise InputError(f"{path} holds {len(found)} runs; give one of them (newest first):\n  {names}")
    return found[0]


@dataclass
class Run:
    """A trained field with what is needed to place it in the world."""

    folder: Path
    """Folder that holds config.yml."""
    method_name: str
    """The nerfstudio method that trained it."""
    step: int
    """Training step of the weights."""
    model_config: RadianceModelConfig | ISDFModelConfig
    """Settings of the model."""
    field: RadianceField | SDFField
    """The field with its weights, in evaluation mode."""
    aabb: Tensor
    """Scene box in the training frame, shape (2, 3), on the CPU."""
    world_from_scene: Tensor
    """Maps points of the training frame to the world of the data set, shape (4, 4), float64, on the CPU."""

    @property
    def output_folder(self) -> Path:
        """Where files made of it go, if no other place is asked for: beside a run that is one file."""
        return self.folder.parent if self.folder.is_file() else self.folder


@dataclass
class RadianceRun(Run):
    """A field of density and colour."""

    model_config: RadianceModelConfig
    field: RadianceField
    grid: OccupancyGrid
    """Where there is density in the scene box."""
    proposal: ConeField | None = None
    """What tells renders of runs with proposals where to sample."""

    @property
    def step_size(self) -> float:
        """Length of a sample, scene units."""
        return self.model_config.step_size(self.aabb)


@dataclass
class SDFRun(Run):
    """A field of signed distance; its training frame is the world, in metres."""

    model_config: ISDFModelConfig
    field: SDFField
    seen: SeenCells
    """Where surfaces were seen."""


def open_run(path: str | Path, device: str | torch.device | None = None, step: int | None = None) -> Run:
    """Opens a run that this package has trained.

    Args:
        path: the run's folder, its config.yml, its checkpoint folder, or a folder above exactly one run.
        device: where the field goes. None: CUDA if there is one, else the CPU.
        step: the checkpoint to open. None: the newest that can be read; damaged ones are named and passed over.

    Raises:
        InputError: naming the path, what was found and what would do.
    """
    folder = find_run(Path(path).expanduser())
    config_path = folder / "config.yml"
    config = read_config(config_path)
    model_config = _model_config(config, config_path)
    state, checkpoint = read_state(folder, config, step)
    if state["pipeline"].get(DENSE_START):
        model_config = model_config.dense_phase()
    target = resolve_device(device)

    field_state = _part(state, "_model.field.")
    aabb = field_state.get("aabb")
    if not isinstance(aabb, Tensor) or aabb.shape != (2, 3) or not bool((aabb[0] < aabb[1]).all()):
        raise InputError(
            f"checkpoint {checkpoint} holds no scene box; it is not of method {config.get('method_name')}."
        )
    aabb = aabb.float()
    broken = [name for name, value in field_state.items() if value.is_floating_point() and not value.isfinite().all()]
    if broken:
        raise InputError(
            f"checkpoint {checkpoint} holds NaN or infinity in {broken[0]}: the training diverged. "
            f"{_other_steps(checkpoint)}Train again with a smaller learning rate."
        )
    extra: OccupancyGrid | SeenCells
    proposal, proposal_state = None, _part(state, "_model.proposal.")
    try:
        field = model_config.build_field(aabb, num_images=len(field_state.get("appearance.weight", ())))
        if isinstance(model_config, ISDFModelConfig):
            extra, extra_state = model_config.build_seen(aabb), _part(state, "_model.seen.")
        else:
            extra, extra_state = model_config.build_grid(aabb), _part(state, "_model.grid.")
        if isinstance(model_config, ProposalModelConfig) and proposal_state:
            proposal = model_config.build_proposal(aabb)
    except (ValueError, TypeError, ArithmeticError) as error:
        raise InputError(f"the model settings in {config_path} build no network: {error}.") from None
    try:
        field.load_state_dict(field_state)
        if extra_state:
            extra.load_state_dict(extra_state)
        if proposal is not None:
            proposal.load_state_dict(proposal_state)
    except RuntimeError as error:
        first_lines = " ".join(line.strip() for line in str(error).splitlines()[:3])
        raise InputError(f"checkpoint {checkpoint} is of another network than {config_path}: {first_lines}") from None
    field, extra = field.to(target).eval().requires_grad_(False), extra.to(target).eval()
    common: dict[str, Any] = {
        "folder": folder,
        "method_name": str(config.get("method_name")),
        "step": int(state["step"]),
        "model_config": model_config,
        "field": field,
        "aabb": aabb,
        "world_from_scene": read_world_from_scene(folder / "dataparser_transforms.json"),
    }
    if isinstance(extra, SeenCells):
        return SDFRun(**common, seen=extra)
    if not extra_state:
        assert isinstance(field, RadianceField)
        extra.fill(field.density_alone)
    if proposal is not None:
        proposal = proposal.to(target).eval().requires_grad_(False)
    return RadianceRun(**common, grid=extra, proposal=proposal)


def _model_config(config: ClassData, path: Path) -> RadianceModelConfig | ISDFModelConfig:
    """The model's settings, built only where their class is one of ours; fields it does not know are passed over."""
    model = config["pipeline"].get("model")
    class_path = model.class_path if isinstance(model, ClassData) else "no model"
    if class_path not in MODEL_CONFIGS:
        raise InputError(
            f"{path} is of method {config.get('method_name')} ({class_path}), which eugen_fields does not know. "
            f"Give a run of one of its own methods ({', '.join(MODEL_CONFIGS)})."
        )
    config_class = MODEL_CONFIGS[class_path]
    known = {field.name for field in dataclasses.fields(config_class) if not field.name.startswith("_")}
    plain = {name: value for name, value in model.items() if name in known and not isinstance(value, ClassData)}
    return config_class(**plain)


def checkpoint_folder(folder: Path, config: ClassData) -> Path:
    """Where a run keeps its checkpoints."""
    return folder / str(config.get("relative_model_dir") or "nerfstudio_models")


def read_state(folder: Path, config: ClassData, step: int | None) -> tuple[dict[str, Any], Path]:
    """The checkpoint's content and path."""
    checkpoints = checkpoint_folder(folder, config)
    if step is None:
        return read_newest_checkpoint(checkpoints)
    path = checkpoint_path(checkpoints, step)
    if not path.exists():
        raise InputError(f"the run {folder} has no checkpoint of step {step}. {_other_steps(path)}".rstrip())
    return read_checkpoint(path), path


def _other_steps(checkpoint: Path) -> str:
    """A sentence that names the other checkpoints beside one, or nothing."""
    steps = [str(step) for step, path in list_checkpoints(checkpoint.parent) if path != checkpoint]
    return f"Others are there for step {', '.join(steps)} (--step). " if steps else ""


def _part(state: dict[str, Any], prefix: str) -> dict[str, Tensor]:
    """The tensors under a prefix, named without it. Runs on several devices have "module." after "_model."."""
    names = {name.replace("_model.module.", "_model.", 1): value for name, value in state["pipeline"].items()}
    return {name[len(prefix) :]: value for name, value in names.items() if name.startswith(prefix)}


def resolve_device(device: str | torch.device | None) -> torch.device:
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        target = torch.device(device)
        torch.empty(1, device=target)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = (str(error).splitlines() or [""])[0]
        raise InputError(f"device {device} cannot be used here ({reason}). Leave --device out, or give cpu.") from None
    return target


def read_world_from_scene(path: Path) -> Tensor:
    """The matrix from the training frame to the world of the data set, shape (4, 4), float64.

    nerfstudio stores transform T (3x4) and scale s with scene = s * (T world); this is the inverse. The identity where
    there is no such file.

    Raises:
        InputError: the file is damaged.
    """
    if not path.exists():
        return torch.eye(4, dtype=torch.float64)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        scale = float(content["scale"])
        scene_from_world = torch.eye(4, dtype=torch.float64)
        scene_from_world[:3] = scale * torch.tensor(content["transform"], dtype=torch.float64).reshape(3, 4)
        world_from_scene = torch.linalg.inv(scene_from_world)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}.") from None
    except (ValueError, TypeError, KeyError, RuntimeError):
        world_from_scene = torch.full((4, 4), torch.nan)
    if not bool(world_from_scene.isfinite().all()):
        raise InputError(f'{path} is damaged; it needs "transform" (an invertible 3x4 matrix) and "scale" (not 0).')
    return world_from_scene
