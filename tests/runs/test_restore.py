"""Configurations are restored from config.yml as data, whatever modules its classes stood in when it was saved."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import yaml

from eugen_fields.data.depth.depth_parser import DepthStreamDataParserConfig
from eugen_fields.errors import InputError
from eugen_fields.live.pipelines import LiveMappingPipeline
from eugen_fields.mapping.stream_data_manager import StreamDataManagerConfig
from eugen_fields.methods import METHODS
from eugen_fields.runs import read_config
from eugen_fields.runs.restore import restore_config, restore_data_parser


def saved_stream_config(folder: Path) -> str:
    """The text of a config.yml of an iSDF run whose settings are not the defaults."""
    config = copy.deepcopy(METHODS["eugen-isdf-tiny"])
    manager = config.pipeline.datamanager
    assert isinstance(manager, StreamDataManagerConfig)
    manager.rays_per_frame, manager.clock, manager.data = 77, "offline", folder / "recording"
    manager.dataparser = DepthStreamDataParserConfig(eval_every=3)
    config.keep_checkpoints = 5
    return yaml.dump(config)


@pytest.mark.parametrize("older", [False, True])
def test_settings_are_restored_whatever_module_their_classes_stood_in(tmp_path: Path, older: bool) -> None:
    text = saved_stream_config(tmp_path)
    if older:
        for now, before in (
            ("data.depth.depth_parser.", "data.depth_parser."),
            ("mapping.stream_data_manager.", "training.stream_data_manager."),
            ("mapping.trainer.", "training.mapping."),
            ("mapping.pipeline.", "training.mapping."),
        ):
            assert now in text
            text = text.replace(f"eugen_fields.{now}", f"eugen_fields.{before}")
    path = tmp_path / "config.yml"
    path.write_text(text)
    config = restore_config(read_config(path), "eugen-isdf-tiny", path, METHODS)
    manager = config.pipeline.datamanager
    assert isinstance(manager, StreamDataManagerConfig) and isinstance(manager.dataparser, DepthStreamDataParserConfig)
    assert (manager.rays_per_frame, manager.clock, manager.dataparser.eval_every) == (77, "offline", 3)
    assert manager.data == tmp_path / "recording" and config.keep_checkpoints == 5
    assert config.pipeline._target is LiveMappingPipeline, "classes are those of today"


def test_the_data_parser_is_restored_alone(tmp_path: Path) -> None:
    path = tmp_path / "config.yml"
    path.write_text(saved_stream_config(tmp_path))
    parser = restore_data_parser(read_config(path), path)
    assert isinstance(parser, DepthStreamDataParserConfig)
    assert parser.data == tmp_path / "recording" and parser.eval_every == 3


def test_a_data_parser_that_is_not_installed_is_named(tmp_path: Path) -> None:
    path = tmp_path / "config.yml"
    path.write_text(saved_stream_config(tmp_path).replace("DepthStreamDataParserConfig", "LidarDataParserConfig"))
    with pytest.raises(InputError, match="LidarDataParserConfig, which nerfstudio does not list"):
        restore_data_parser(read_config(path), path)
