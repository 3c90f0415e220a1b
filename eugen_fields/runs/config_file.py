"""Reads the config.yml of a run as data: nothing in it is imported or called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from eugen_fields.errors import InputError


class ClassData(dict):
    """What a config.yml says about an object of some class: its fields by name, or its arguments as "args"."""

    class_path: str = ""


class _DataLoader(yaml.SafeLoader):
    """Reads python-tagged YAML as plain data; no tag is ever looked up."""


def _plain_data(loader: _DataLoader, suffix: str, node: yaml.Node) -> Any:
    kind, _, class_path = suffix.partition(":")
    if isinstance(node, yaml.SequenceNode):
        items = tuple(loader.construct_sequence(node, deep=True))
        if kind in ("tuple", "list"):
            return items
        if kind == "object/apply" and class_path in ("pathlib.PosixPath", "pathlib.WindowsPath", "pathlib.Path"):
            return Path(*map(str, items))
        data = ClassData(args=items)
    elif isinstance(node, yaml.MappingNode):
        data = ClassData(loader.construct_mapping(node, deep=True))
    else:
        text = loader.construct_scalar(node)  # type: ignore[arg-type]
        return class_path or text
    data.class_path = class_path or kind
    return data


_DataLoader.add_multi_constructor("tag:yaml.org,2002:python/", _plain_data)


def read_config(path: Path) -> ClassData:
    """A run's config.yml as data: objects become ClassData, classes and functions their dotted names.

    Raises:
        InputError: the file cannot be read or is no nerfstudio config.
    """
    try:
        config = yaml.load(path.read_text(encoding="utf-8"), Loader=_DataLoader)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}.") from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError, TypeError) as error:
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{path} is damaged or no config.yml of nerfstudio ({first_line}).") from None
    if not isinstance(config, ClassData) or not isinstance(config.get("pipeline"), ClassData):
        raise InputError(f"{path} is not the config.yml of a training run; ns-train writes one into each run's folder.")
    return config
