"""nerfstudio's data manager, with the checks of the scene in front of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from nerfstudio.data.datamanagers.base_datamanager import VanillaDataManager, VanillaDataManagerConfig
from nerfstudio.data.datasets.base_dataset import InputDataset
from nerfstudio.data.utils.dataloaders import FixedIndicesEvalDataloader

from eugen_fields.data.checks import check_scene


@dataclass
class FieldDataManagerConfig(VanillaDataManagerConfig):
    """Images in memory, pixels drawn at random."""

    _target: type = field(default_factory=lambda: FieldDataManager)


class FieldDataManager(VanillaDataManager[InputDataset]):
    """A VanillaDataManager (nerfstudio's exporters ask for one) that checks the scene when a finished run is opened.
    Training has checked it already."""

    config: FieldDataManagerConfig
    fixed_indices_eval_dataloader: FixedIndicesEvalDataloader

    def __init__(
        self,
        config: FieldDataManagerConfig,
        device: Any = "cpu",
        test_mode: Literal["test", "val", "inference"] = "val",
        **kwargs: Any,
    ) -> None:
        if test_mode != "val":
            check_scene(config.dataparser, config.data, splits=("train", "test"), images=test_mode == "test")
        super().__init__(config, device, test_mode, **kwargs)
