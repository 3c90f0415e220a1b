"""Which data parsers' scenes are bounded."""

from __future__ import annotations

from nerfstudio.configs.dataparser_configs import dataparsers
from nerfstudio.data.dataparsers.blender_dataparser import BlenderDataParserConfig

from eugen_fields.data.regime import is_bounded


def test_objects_are_bounded_and_captures_are_not() -> None:
    assert {name for name, config in dataparsers.items() if is_bounded(config)} == {"blender-data", "dnerf-data"}


def test_configs_classes_and_class_paths_agree() -> None:
    for config in dataparsers.values():
        kind = type(config)
        assert is_bounded(config) == is_bounded(kind) == is_bounded(f"{kind.__module__}.{kind.__qualname__}")


def test_parsers_made_from_a_bounded_one_are_bounded() -> None:
    class MultiScaleBlender(BlenderDataParserConfig):
        pass

    assert is_bounded(MultiScaleBlender())
