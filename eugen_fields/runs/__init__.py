"""Finished and growing runs: opened safely, rendered, restored."""

from eugen_fields.runs.open import (
    MODEL_CONFIGS,
    ClassData,
    RadianceRun,
    Run,
    SDFRun,
    checkpoint_folder,
    find_run,
    open_run,
    read_config,
    read_state,
    read_world_from_scene,
    resolve_device,
)

__all__ = [
    "MODEL_CONFIGS",
    "ClassData",
    "RadianceRun",
    "Run",
    "SDFRun",
    "checkpoint_folder",
    "find_run",
    "open_run",
    "read_config",
    "read_state",
    "read_world_from_scene",
    "resolve_device",
]
