"""Input: checks that run before training, and posed depth streams."""

from eugen_fields.data.checks import check_scene
from eugen_fields.data.depth.depth_parser import DepthStreamDataParser, DepthStreamDataParserConfig
from eugen_fields.data.depth.depth_reading import read_depth_stream
from eugen_fields.data.depth.depth_streams import DepthFrame, DepthStream
from eugen_fields.data.multiscale import MultiScaleDataset
from eugen_fields.data.regime import is_bounded

__all__ = [
    "DepthFrame",
    "DepthStream",
    "DepthStreamDataParser",
    "DepthStreamDataParserConfig",
    "MultiScaleDataset",
    "check_scene",
    "is_bounded",
    "read_depth_stream",
]
