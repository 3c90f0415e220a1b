"""A dense run whose layers are replaced in every way that `eugen-bench transfer` compares."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from eugen_fields.benchmark.common.scoring import Scorer
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
        self.teacher, config = open_teacher(folder, device, None, 128, METHODS)
        self.width = int(self.teacher.field.trunk.layers[0].out_features)  # type: ignore[arg-type]
        self._folder = folder
        self._scorer = Scorer(self.teacher, config, views)
        self._rays = training_rays(self.teacher, config)

    def measure(self, case: dict[str, Any]) -> dict[str, Any]:
        """Fits the layers of one case and scores the field.

        Args:
            case: variant, features, best, layer, projections, finetune_steps and seed, as in the JSON file.
        """
        facts: dict[str, Any] = {"fit_seconds": 0.0, "finetune_seconds": 0.0, "replace": []}
        field = self.teacher.field
        if case["variant"] != "teacher":
            options = TransferOptions(
                run=self._folder,
                layer=case["layer"],
                num_features=case["features"],
                best=case["best"],
                projections=case["projections"],
                finetune_steps=0 if case["variant"] == "closed form" else case["finetune_steps"],
                seed=case["seed"],
            )
            random_start = case["variant"].startswith("random")
            field, report = transfer_field(self.teacher, self._rays, options, random_start=random_start)
            facts = {"fit_seconds": report.fit_seconds, "finetune_seconds": report.finetune_seconds}
            facts |= {"replace": list(field.trunk.replace)}
        facts["trunk_parameters"] = sum(parameter.numel() for parameter in field.trunk.parameters())
        facts["trunk_multiplications"] = field.folded().trunk.multiplications()  # type: ignore[operator]
        return facts | self._scorer.score(field)
