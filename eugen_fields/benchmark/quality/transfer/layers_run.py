"""A dense run whose layers are replaced in every way that `eugen-bench transfer --compare layers` compares."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from eugen_fields.benchmark.common.scoring import Scorer
from eugen_fields.benchmark.quality.transfer.layers_table import CLOSED_FORM, RANDOM_START, TEACHER
from eugen_fields.methods import METHODS
from eugen_fields.transfer.fit import transfer_field
from eugen_fields.transfer.options import TransferOptions
from eugen_fields.transfer.rays import training_rays
from eugen_fields.transfer.teacher import open_teacher


class Transferred:
    """A trained dense run, its rays, and the test views on which its students are scored.

    Args:
        folder: of the run.
        device: None takes CUDA if there is one.
        views: test views, evenly spread; 0 takes all.
    """

    def __init__(self, folder: Path, device: str | None, views: int) -> None:
        self.teacher, self._config = open_teacher(folder, device, None, 128, METHODS)
        self.width = int(self.teacher.field.trunk.layers[0].out_features)  # type: ignore[arg-type]
        self._folder = folder
        self._scorer = Scorer(self.teacher, self._config, views)
        self._rays = training_rays(self.teacher, self._config)

    def measure(self, case: dict[str, Any]) -> dict[str, Any]:
        """Fits the layers of one case and scores the field.

        Args:
            case: variant, features, best, layer, projections, finetune_steps and seed, as in the JSON file.
        """
        facts: dict[str, Any] = {"fit_seconds": 0.0, "finetune_seconds": 0.0, "replace": []}
        field = self.teacher.field
        if case["variant"] != TEACHER:
            options = TransferOptions(
                run=self._folder,
                layer=case["layer"],
                num_features=case["features"],
                best=case["best"],
                projections=case["projections"],
                finetune_steps=0 if case["variant"] == CLOSED_FORM else case["finetune_steps"],
                seed=case["seed"],
            )
            random_start = case["variant"] == RANDOM_START
            made = transfer_field(self.teacher, self._config, self._rays, options, random_start=random_start)
            field, report = made.field, made.report
            facts = {"fit_seconds": report.fit_seconds, "finetune_seconds": report.finetune_seconds}
            facts |= {"replace": list(field.trunk.replace)}
        facts["trunk_parameters"] = sum(parameter.numel() for parameter in field.trunk.parameters())
        facts["trunk_multiplications"] = field.folded().trunk.multiplications()  # type: ignore[operator]
        return facts | self._scorer.score(field)
