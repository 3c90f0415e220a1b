"""Builds a training configuration from a run's config.yml that was read as data: nothing named in it is called."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from nerfstudio.data.dataparsers.base_dataparser import DataParserConfig
from nerfstudio.engine.trainer import TrainerConfig

from eugen_fields.errors import InputError
from eugen_fields.runs.config_file import ClassData

Config = TypeVar("Config", bound=TrainerConfig)


def restore_config(data: ClassData, method: str, path: Path, methods: Mapping[str, Config]) -> Config:
    """The configuration of `method` with every plain value that `data` has for it; where the run is of another method,
    with its data, its name and its place alone.

    Args:
        data: of runs.read_config.
        method: a name in `methods`.
        path: the file that data came from, for messages.
        methods: the default configuration of each method, such as eugen_fields.methods.METHODS.

    Raises:
        InputError: the run's data parser is not known here.
    """
    config = copy.deepcopy(methods[method])
    manager: Any = config.pipeline.datamanager
    manager.dataparser = restore_data_parser(data, path)
    scene = manager.dataparser.data
    if data.get("method_name") == method:
        _overlaid(config, data)
    else:
        for name in ("data", "output_dir", "experiment_name", "timestamp"):
            setattr(config, name, data.get(name))
    manager.data = scene
    return config


def restore_data_parser(data: ClassData, path: Path) -> DataParserConfig:
    """The configuration of the data parser that read a run's scene, with its plain values, `data` where the scene was.

    Args:
        data: of runs.read_config.
        path: the file that data came from, for messages.

    Raises:
        InputError: the run's data parser is not known here.
    """
    manager = data["pipeline"].get("datamanager")
    if not isinstance(manager, ClassData):
        raise InputError(f"{path} names no data manager, so the cameras of the run cannot be found.")
    saved = manager.get("dataparser")
    class_path = saved.class_path if isinstance(saved, ClassData) else "no data parser"
    parser = _data_parser(class_path, path)
    if isinstance(saved, ClassData):
        _overlaid(parser, saved)
    parser.data = Path(manager.get("data") or data.get("data") or parser.data)
    return parser


def _data_parser(class_path: str, path: Path) -> Any:
    """A fresh configuration of one of the data parsers that nerfstudio lists, plugins included."""
    from nerfstudio.configs.dataparser_configs import all_dataparsers

    for config in all_dataparsers.values():
        if _is_of(config, class_path):
            return copy.deepcopy(config)
    raise InputError(f"{path} uses the data parser {class_path}, which nerfstudio does not list here; install it.")


def _is_of(value: Any, class_path: str) -> bool:
    """Whether a value is of a class, by name without its module: runs outlive the place of a file."""
    return class_path.rpartition(".")[2] == type(value).__name__


def _overlaid(current: Any, value: Any) -> Any:
    """`current` with every plain value that `value` has for it; dataclasses and dictionaries are changed in place."""
    if isinstance(value, ClassData):
        if dataclasses.is_dataclass(current) and _is_of(current, value.class_path):
            for field in dataclasses.fields(current):
                if field.name in value and not field.name.startswith("_"):
                    setattr(current, field.name, _overlaid(getattr(current, field.name), value[field.name]))
    elif isinstance(value, dict):
        if isinstance(current, dict):
            for name in [name for name in value if name in current or _is_plain(value[name])]:
                current[name] = _overlaid(current.get(name), value[name])
    elif _is_plain(value) and not callable(current):
        return value
    return current


def _is_plain(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return all(_is_plain(item) for item in value)
    return value is None or isinstance(value, (bool, int, float, str, Path))
