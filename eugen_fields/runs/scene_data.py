"""The data that a run was trained on, where it is still there."""

from __future__ import annotations

from pathlib import Path

import torch
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from nerfstudio.data.dataparsers.blender_dataparser import BlenderDataParserConfig
from nerfstudio.data.dataparsers.nerfstudio_dataparser import NerfstudioDataParserConfig
from PIL import Image

from eugen_fields.data.depth.depth_parser import DepthStreamDataParserConfig
from eugen_fields.data.parsers.choose import set_up_parser
from eugen_fields.errors import InputError
from eugen_fields.runs.config_file import ClassData
from eugen_fields.runs.restore import restore_data_parser
from eugen_fields.runs.scene import find_scene

PARSERS = (BlenderDataParserConfig, NerfstudioDataParserConfig, DepthStreamDataParserConfig)
"""The data parsers that are run for a stranger's config.yml, built from its plain values."""


def read_scene_data(folder: Path, config: ClassData, split: str) -> DataparserOutputs:
    """Images and cameras of a split of a run's scene; all cameras have a size.

    Args:
        folder: of the run.
        config: of runs.read_config.
        split: train, val or test.

    Raises:
        InputError: the data is not there, damaged, or was read by another data parser than ours.
    """
    config_path = folder / "config.yml"
    parser = restore_data_parser(config, config_path)
    if not isinstance(parser, PARSERS):
        raise InputError(f"the photos of {config_path} were read by {type(parser).__name__}, which is not shown.")
    parser.data = find_scene(folder, parser, parser.data)
    try:
        outputs = set_up_parser(parser).get_dataparser_outputs(split)
        cameras = outputs.cameras
        if cameras.height is None or bool((cameras.height <= 0).any()):
            with Image.open(outputs.image_filenames[0]) as image:
                cameras.width = torch.full_like(cameras.cx, image.width, dtype=torch.int64)
                cameras.height = torch.full_like(cameras.cx, image.height, dtype=torch.int64)
    except InputError:
        raise
    except Exception as error:  # data parsers raise many kinds for damaged data
        raise InputError(f"the photos in {parser.data} cannot be read ({error}).") from None
    return outputs
