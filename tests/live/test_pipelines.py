"""Live views are attached where methods are put together, and stay attached in saved runs."""

from __future__ import annotations

import pytest
import yaml

from eugen_fields.live.pipelines import LiveFieldPipeline, LiveMappingPipeline
from eugen_fields.mapping.trainer import MappingTrainerConfig
from eugen_fields.methods import METHODS


@pytest.mark.parametrize("method", METHODS)
def test_every_method_is_shown_while_it_trains(method: str) -> None:
    config = METHODS[method]
    expected = LiveMappingPipeline if isinstance(config, MappingTrainerConfig) else LiveFieldPipeline
    assert config.pipeline._target is expected
    # config.yml holds the class as a Python name, which ns-viewer and ns-eval read back
    saved = yaml.load(yaml.dump(config), Loader=yaml.Loader)
    assert saved.pipeline._target is expected and saved == config
