"""Which of our parsers stands in for one of nerfstudio's."""

from __future__ import annotations

import dataclasses
from typing import TypeVar

from nerfstudio.data.dataparsers.base_dataparser import DataParser, DataParserConfig
from nerfstudio.data.dataparsers.blender_dataparser import Blender
from nerfstudio.data.dataparsers.colmap_dataparser import ColmapDataParser
from nerfstudio.data.dataparsers.instant_ngp_dataparser import InstantNGP
from nerfstudio.data.dataparsers.nerfstudio_dataparser import Nerfstudio

from eugen_fields.data.parsers.blender import BlenderParser
from eugen_fields.data.parsers.capture import CaptureParser
from eugen_fields.data.parsers.colmap import ColmapParser
from eugen_fields.data.parsers.instant_ngp import InstantNGPParser

_STAND_INS: dict[type, type] = {
    Blender: BlenderParser,
    Nerfstudio: CaptureParser,
    InstantNGP: InstantNGPParser,
    ColmapDataParser: ColmapParser,
}
Config = TypeVar("Config", bound=DataParserConfig)


def stand_in(config: Config) -> Config:
    """The configuration of a data parser, with our parser as what it sets up, if there is one for it.

    Flags and config.yml stay those of nerfstudio; whatever reads a scene here asks this first.
    """
    return dataclasses.replace(config, _target=_STAND_INS.get(config._target, config._target))


def set_up_parser(config: DataParserConfig) -> DataParser:
    """The data parser that reads a scene as the options of a configuration say."""
    return stand_in(config).setup()
