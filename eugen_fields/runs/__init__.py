"""Finished and growing runs: opened safely, rendered, restored."""

from eugen_fields.runs.config_file import ClassData, read_config
from eugen_fields.runs.open import (
    MODEL_CONFIGS,
    RadianceRun,
    Run,
    SDFRun,
    checkpoint_folder,
    find_run,
    open_run,
    read_state,
    read_world_from_scene,
    resolve_device,
)
from eugen_fields.runs.render import build_model, render_chunks
from eugen_fields.runs.restore import restore_config, restore_data_parser

__all__ = [
    "MODEL_CONFIGS",
    "ClassData",
    "RadianceRun",
    "Run",
    "SDFRun",
    "build_model",
    "checkpoint_folder",
    "find_run",
    "open_run",
    "read_config",
    "read_state",
    "read_world_from_scene",
    "render_chunks",
    "resolve_device",
    "restore_config",
    "restore_data_parser",
]
