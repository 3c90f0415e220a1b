"""Captures whose files are edited, and what our parsers make of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from nerfstudio.data.dataparsers.base_dataparser import DataParserConfig

from eugen_fields.data.cameras.placing import PlacedOutputs
from eugen_fields.data.parsers.choose import set_up_parser


def edit(scene: Path, change: Callable[[dict[str, Any]], object], name: str = "transforms.json") -> None:
    """Changes a transforms file in place."""
    path = scene / name
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def each_pose(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[dict[str, Any]], None]:
    """A change of every pose, for `edit`."""

    def apply(content: dict[str, Any]) -> None:
        for frame in content["frames"]:
            frame["transform_matrix"] = change(np.array(frame["transform_matrix"])).tolist()

    return apply


def file_poses(scene: Path, name: str = "transforms.json") -> dict[str, np.ndarray]:
    """Poses (4, 4) of a transforms file by the names of their images."""
    frames = json.loads((scene / name).read_text())["frames"]
    return {Path(frame["file_path"]).stem: np.array(frame["transform_matrix"], dtype=float) for frame in frames}


def read(config: DataParserConfig, split: str = "train") -> PlacedOutputs:
    """What the data parser that stands in for nerfstudio's gives."""
    outputs = set_up_parser(config).get_dataparser_outputs(split)
    assert isinstance(outputs, PlacedOutputs)
    return outputs
