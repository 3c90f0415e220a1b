"""New layers of a field, fitted to those of a trained one in closed form and fine-tuned."""

from __future__ import annotations

import copy
import time
from typing import Any

from eugen_fields.errors import InputError
from eugen_fields.fields import RadianceField
from eugen_fields.layers.fitting.transfer import TransferReport, transfer
from eugen_fields.progress import Progress, counted
from eugen_fields.runs import RadianceRun
from eugen_fields.transfer.options import TransferOptions
from eugen_fields.transfer.rays import TrainingRays, distill_rays, trunk_inputs


def transfer_field(
    run: RadianceRun,
    rays: TrainingRays,
    options: TransferOptions,
    *,
    random_start: bool = False,
    progress: Progress = True,
) -> tuple[RadianceField, TransferReport]:
    """The fitted (and fine-tuned) copy of a run's field, and the report of the closed form with the seconds of both.

    Args:
        random_start: draw the new layers at random in place of the closed form, which then only chooses the layers:
            the baseline that shows what the closed form is worth.
        progress: as in eugen_fields.progress.

    Raises:
        InputError: an option that the field or the layer kind does not take, or too few samples.
    """
    field, device = run.field, run.field.aabb.device
    if options.finetune_steps > 0 and getattr(run.model_config, "regime", "bounded") == "unbounded":
        raise InputError(
            "--finetune-steps trains on rays within the scene box, and this run's scene has no bounds: leave it at 0."
        )
    inputs = trunk_inputs(run, rays, options.num_samples, options.seed)
    settings: dict[str, Any] = options.layer_options() | {"layer": options.layer, "ridge": options.ridge}
    if options.layer == "eugen":
        settings["projections"] = options.projections
    try:
        replace = options.replace
        if options.best > 0:
            every = field.trunk.with_layers(options.layer, seed=0, **options.layer_options()).replace
            errors: dict[int, float] = {}
            with counted(progress, "Trying layers", len(every), "layer") as advance:
                for index in every:
                    _, alone = transfer(field.trunk, inputs, replace=(index,), seed=options.seed, **settings)
                    errors[index] = alone.relative_error
                    advance(1)
            replace = tuple(sorted(sorted(errors, key=lambda index: errors[index])[: options.best]))
        trunk, report = transfer(
            field.trunk, inputs, replace=replace, sequential=options.sequential, seed=options.seed, **settings
        )
    except ValueError as error:
        raise InputError(f"{error}.") from None
    if random_start:
        drawn = {"norm": False, "projection_bias": True} if options.layer == "eugen" else {}
        settings = options.layer_options() | drawn
        trunk = field.trunk.with_layers(options.layer, trunk.replace, seed=options.seed, **settings)
        report.fit_seconds = 0.0
    student = copy.deepcopy(field)
    student.trunk = trunk.to(device)
    if options.finetune_steps > 0:
        start = time.perf_counter()
        new_layers = [student.trunk.layers[index] for index in student.trunk.replace]
        trained = [parameter.requires_grad_(True) for layer in new_layers for parameter in layer.parameters()]
        distill_rays(
            field,
            student,
            trained,  # type: ignore[arg-type]
            rays,
            options.finetune_steps,
            learning_rate=options.finetune_rate,
            num_samples=options.finetune_samples,
            seed=options.seed,
            progress=progress,
        )
        report.finetune_seconds = time.perf_counter() - start
    return student.requires_grad_(False).eval(), report
