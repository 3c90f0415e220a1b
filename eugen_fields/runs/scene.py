"""The scene of a run: what it was, so that no other scene is taken for it, and where it is now."""

from __future__ import annotations

import copy
import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from nerfstudio.data.dataparsers.base_dataparser import DataParserConfig

from eugen_fields.data.depth.depth_layouts import read_recording
from eugen_fields.data.depth.depth_parser import DepthStreamDataParserConfig
from eugen_fields.data.parsers.choose import set_up_parser
from eugen_fields.data.scenes.names import inside
from eugen_fields.errors import InputError
from eugen_fields.runs.opened import opening
from eugen_fields.writing import written_beside

SCENE_FILE = "scene.json"
"""Name of the file in a run's folder that describes its scene."""

_SAMPLES = 6
"""Frames whose file and pose are compared as a whole."""
_POSE_TOLERANCE = 1e-3
"""Largest difference of poses, relative to the largest number in them: other machines round otherwise."""


def describe_scene(parser: DataParserConfig, data: Path) -> dict[str, Any]:
    """What tells a scene from others, as JSON has it: the names and sizes of the training images (or depth images), and
    of some of them, evenly spread, the content and the pose. It does not depend on where the scene lies. Of images that
    are not there, which some commands do not need, size and content are None.

    Args:
        parser: of the scene.
        data: its folder or file.
    """
    paths, poses = _frames(parser, data)
    names = [_name(path, data) for path in paths]
    chosen = sorted({round(index) for index in np.linspace(0, len(paths) - 1, min(_SAMPLES, len(paths)))})
    samples = [
        {
            "file": names[index],
            "crc32": zlib.crc32(paths[index].read_bytes()) if paths[index].is_file() else None,
            "pose": np.round(poses[index], 6).tolist(),
        }
        for index in chosen
    ]
    return {
        "data": str(data.resolve()),
        "frames": len(paths),
        "names": zlib.crc32("\n".join(names).encode()),
        "bytes": sum(path.stat().st_size for path in paths) if all(path.is_file() for path in paths) else None,
        "samples": samples,
    }


def _frames(parser: DataParserConfig, data: Path) -> tuple[list[Path], Sequence[np.ndarray]]:
    """Files and poses (3, 4) of the training frames."""
    if isinstance(parser, DepthStreamDataParserConfig):
        recording = read_recording(data, parser.camera_file, parser.noisy_depth)
        there = [frame for frame in recording.frames if frame.depth_path is not None and frame.depth_path.is_file()]
        none = np.zeros((3, 4))
        poses = [none if frame.pose is None else np.nan_to_num(frame.pose[:3]) for frame in there]
        return [frame.depth_path for frame in there if frame.depth_path is not None], poses
    parser = copy.copy(parser)
    parser.data = data
    outputs = set_up_parser(parser).get_dataparser_outputs("train")
    return [Path(path) for path in outputs.image_filenames], list(outputs.cameras.camera_to_worlds.double().numpy())


def _name(path: Path, data: Path) -> str:
    path, folder = path.absolute(), (data if data.is_dir() else data.parent).absolute()
    return inside(path, folder) if path.is_relative_to(folder) else path.name


def difference(was: dict[str, Any], now: dict[str, Any]) -> str:
    """What differs between the descriptions of a scene as it was and as it is now, in words that complete "it ...";
    empty: it is the same scene.

    Raises:
        KeyError, TypeError, ValueError: a description is damaged.
    """
    if was["frames"] != now["frames"]:
        return f"has {now['frames']} training images, not {was['frames']}"
    if was["names"] != now["names"]:
        return "has images of other names"
    for before, after in zip(was["samples"], now["samples"], strict=True):
        if after["crc32"] not in (None, before["crc32"]):
            return f"has another image {after['file']}"
        then, today = np.array(before["pose"]), np.array(after["pose"])
        if then.shape != today.shape or np.abs(then - today).max() > _POSE_TOLERANCE * max(1.0, np.abs(then).max()):
            return f"has another pose of {after['file']}"
    if now["bytes"] not in (None, was["bytes"]):
        return "has images of other sizes"
    return ""


def record_scene(folder: Path, parser: DataParserConfig, data: Path) -> None:
    """Writes the description of a run's scene into its folder. Raises InputError where that cannot be done."""
    description = describe_scene(parser, data)
    with written_beside(folder / SCENE_FILE) as unfinished:
        unfinished.write_text(json.dumps(description, indent=1) + "\n", encoding="utf-8")


def find_scene(folder: Path, parser: DataParserConfig, data: Path) -> Path:
    """Where the scene of a run is now.

    Looked at in this order: in the run's folder; where config.yml says, a relative path being one from here and from
    every folder above the run; where it was in the training; and in the folders above the run, by the ends of that
    path. The first that is the scene of the training, by what the run says of it, is taken; of runs that say nothing,
    the first that is there.

    Args:
        folder: of the run.
        parser: that reads the scene.
        data: where the scene is by config.yml.

    Raises:
        InputError: it is at none of these places, or only other scenes are.
    """
    was = _read_description(folder)
    above = [folder.resolve(), *folder.resolve().parents]
    reasons = []
    for place in _places(above, data, None if was is None else Path(str(was.get("data")))):
        # outputs/<scene>, which holds the run, has the name of the scene, but seldom is one
        by_chance = place != data and place.resolve() in above
        if not place.exists() or (was is None and by_chance):
            continue
        reason = _reason(was, parser, place) if was is not None else ""
        if not reason:
            return place
        if not by_chance:
            reasons.append(f"{place} {reason}")
    advice = f"Put the scene, or a link to it, at {folder / (data.name or 'scene')}."
    if not reasons:
        raise InputError(
            f"the scene {data} of the run {folder} does not exist; looked in {folder}, {data.absolute().parent} and "
            f"the folders above the run. {advice}"
        )
    raise InputError(
        f"the run {folder} was trained on another scene than the one that is there now: {reasons[0]}. {advice} Or "
        f"remove {folder / SCENE_FILE} to open the run with what is there."
    )


def place_opened_scene(config: Any) -> None:
    """Where nerfstudio is opening a run, has the settings of its data manager name the place where its scene is now.
    A scene that a flag of the command names (ns-render dataset --data) is left alone.

    Raises:
        InputError: as find_scene.
    """
    found = opening()
    if found is None or getattr(found.command, "data", None) is not None:
        return
    config.data = find_scene(found.folder, config.dataparser, Path(config.data or config.dataparser.data))


def _reason(was: dict[str, Any], parser: DataParserConfig, place: Path) -> str:
    try:
        return difference(was, describe_scene(parser, place))
    except InputError as error:
        return f"cannot be read ({error.message})"
    except Exception as error:  # data parsers raise many kinds for damaged data
        return f"cannot be read ({type(error).__name__}: {error})"


def _read_description(folder: Path) -> dict[str, Any] | None:
    """None: the run has none, as those of earlier versions."""
    path = folder / SCENE_FILE
    if not path.exists():
        return None
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
        difference(description, description)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is damaged ({error}). Remove it to open the run with any scene.") from None
    return description


def _places(above: list[Path], data: Path, trained: Path | None) -> list[Path]:
    """Where a scene may be, most likely first, without repeats.

    Args:
        above: the run's folder, and all above it.
        data: where config.yml says.
        trained: where it was in the training; None: nobody knows.
    """
    places = [above[0] / (data.name or "scene"), data]
    if not data.is_absolute():
        places += [parent / data for parent in above]
    if trained is not None:
        places.append(trained)
        for start in range(max(1, len(trained.parts) - 4), len(trained.parts)):
            places += [parent.joinpath(*trained.parts[start:]) for parent in above]
    return list(dict.fromkeys(places))
