"""New layers of a field, fitted to those of a trained one in closed form, and the whole network fine-tuned."""

from __future__ import annotations

import copy
import dataclasses
import time
from dataclasses import dataclass
from typing import Any

from eugen_fields.errors import InputError
from eugen_fields.fields import RadianceField
from eugen_fields.layers import MLP
from eugen_fields.layers.fitting.narrow import NarrowMLP, is_narrow
from eugen_fields.layers.fitting.transfer import TransferReport, transfer
from eugen_fields.layers.kinds import layer_kind
from eugen_fields.models import summary
from eugen_fields.progress import Progress, counted
from eugen_fields.runs import RadianceRun
from eugen_fields.training.trainer import FieldTrainerConfig
from eugen_fields.transfer.budget import Search, field_bytes, search
from eugen_fields.transfer.finetune import RATE_FACTOR, WARMUP_STEPS, finetune, finetune_optimizer, likeness
from eugen_fields.transfer.options import TransferOptions
from eugen_fields.transfer.rays import TrainingRays, TrunkInputs, trunk_inputs

SEARCH_SAMPLES = 8192
"""Samples that layers are fitted to while a budget is searched for: far more than the unknowns of any layer."""


@dataclass
class FieldTransfer:
    """A field with new layers, and what became of it."""

    field: RadianceField
    report: TransferReport
    """Errors of the closed form, with the seconds of the fine-tuning."""
    options: TransferOptions
    """Those that were asked for, with what the search of a budget found in place of the budget."""
    multiplications: int
    """Multiplications per sample of the folded networks, trunk and colour head."""
    bytes: int
    """Bytes of the field's numbers in float16, trained or folded, whichever are fewer."""
    closed_form_psnr: float | None
    """PSNR of renders of training rays against those of the trained field, dB, before the fine-tuning; None in scenes
    without bounds."""
    psnr: float | None
    """PSNR of those renders in the end, dB."""
    search: Search | None = None
    """The search of a budget, and None without one."""
    search_seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers, strings and lists, for JSON."""
        names = ("multiplications", "bytes", "closed_form_psnr", "psnr", "search_seconds")
        facts: dict[str, Any] = {name: getattr(self, name) for name in names}
        facts["finetune_steps"] = self.options.steps
        facts["search"] = None if self.search is None else self.search.as_dict()
        return facts | self.report.as_dict()


def transfer_field(
    run: RadianceRun,
    config: FieldTrainerConfig,
    rays: TrainingRays,
    options: TransferOptions,
    *,
    random_start: bool = False,
    progress: Progress = True,
) -> FieldTransfer:
    """A copy of a run's field with layers that are fitted in closed form, fine-tuned as a whole.

    Args:
        config: of the run, for the optimiser of the fine-tuning.
        random_start: draw the new layers at random in place of the closed form, which then only chooses the layers:
            the baseline that shows what the closed form is worth.
        progress: as in eugen_fields.progress.

    Raises:
        InputError: an option that the field or the layer kind does not take, too few samples, or a budget that no
            network meets.
    """
    bounded = getattr(run.model_config, "regime", "bounded") != "unbounded"
    if not bounded:
        if options.finetune_steps:
            raise InputError(
                "--finetune-steps trains on rays within the scene box, and this run's scene has no bounds: leave it at "
                "0."
            )
        options = dataclasses.replace(options, finetune_steps=0)
    inputs = trunk_inputs(run, rays, options.num_samples, options.seed)
    found, start = None, time.perf_counter()
    try:
        if options.budget is not None:
            found = _searched(run.field, inputs, options, progress)
            options = dataclasses.replace(options.with_size(found.taken.size), replace=found.taken.replace)
        elif options.best > 0:
            options = dataclasses.replace(options, replace=_best(run.field, inputs, options, progress))
        search_seconds = time.perf_counter() - start
        trunk, report = _closed_form(run.field, inputs, options, options.replace)
    except ValueError as error:
        raise error if isinstance(error, InputError) else InputError(f"{error}.") from None
    if random_start:
        trunk = _drawn(run.field, options, trunk.replace)
        report.fit_seconds = 0.0
    student = copy.deepcopy(run.field)
    student.set_trunk(trunk.to(run.field.aabb.device))
    student.requires_grad_(False).eval()
    before = after = likeness(run.field, student, rays, seed=options.seed + 1) if bounded else None
    if before is not None and options.steps > 0:
        start = time.perf_counter()
        tuned = _finetuned(run.field, student, config, rays, options, random_start, progress)
        after = likeness(run.field, tuned, rays, seed=options.seed + 1)
        student, after = (tuned, after) if after > before else (student, before)  # a few steps may do harm
        report.finetune_seconds = time.perf_counter() - start
    return FieldTransfer(
        field=student,
        report=report,
        options=options,
        multiplications=summary.multiplications(student),
        bytes=field_bytes(student),
        closed_form_psnr=before,
        psnr=after,
        search=found,
        search_seconds=search_seconds,
    )


def _finetuned(
    teacher: RadianceField,
    student: RadianceField,
    config: FieldTrainerConfig,
    rays: TrainingRays,
    options: TransferOptions,
    random_start: bool,
    progress: Progress,
) -> RadianceField:
    """A copy of the student, all of it trained: as a narrow dense network where its trunk is one."""
    tuned = copy.deepcopy(student)
    trunk, narrow = tuned.trunk, NarrowMLP(tuned.trunk) if is_narrow(tuned.trunk) else None
    if narrow is not None:
        tuned.set_trunk(narrow)  # type: ignore[arg-type]
    scheduler: Any = config.optimizers["fields"]["scheduler"]
    start = (1.0, scheduler.warmup_steps) if random_start else (RATE_FACTOR, WARMUP_STEPS)
    layer, factor = options.layer if narrow is None else "dense", start[0] * options.finetune_rate_factor
    finetune(
        teacher,
        tuned,
        rays,
        options.steps,
        finetune_optimizer(config, layer, options.steps, factor),
        num_samples=options.finetune_samples,
        seed=options.seed,
        warmup_steps=start[1],
        progress=progress,
    )
    if narrow is not None:
        narrow.write_to(trunk)
        tuned.set_trunk(trunk)
    return tuned


def _closed_form(
    field: RadianceField, inputs: TrunkInputs, options: TransferOptions, replace: tuple[int, ...] | None
) -> tuple[MLP, TransferReport]:
    settings = options.layer_options() | {"layer": options.layer, "ridge": options.ridge}
    if options.layer == "eugen":
        settings |= {"projections": options.projections}
    return transfer(
        field.trunk,
        inputs,
        replace=replace,
        sequential=options.sequential,
        seed=options.seed,
        **settings,
    )


def _drawn(field: RadianceField, options: TransferOptions, replace: tuple[int, ...]) -> MLP:
    """The trunk with new layers that are drawn at random."""
    drawn = {"projection_bias": options.projections != "random"} if options.layer == "eugen" else {}
    return field.trunk.with_layers(options.layer, replace, seed=options.seed, **options.layer_options(), **drawn)


def _hidden(field: RadianceField, options: TransferOptions) -> tuple[int, ...]:
    """Every hidden layer but the first."""
    return field.trunk.with_layers(options.layer, seed=0, **options.layer_options()).replace


def _best(field: RadianceField, inputs: TrunkInputs, options: TransferOptions, progress: Progress) -> tuple[int, ...]:
    """The layers that change the output least when replaced alone."""
    every = _hidden(field, options)
    errors: dict[int, float] = {}
    with counted(progress, "Trying layers", len(every), "layer") as advance:
        for index in every:
            errors[index] = _closed_form(field, inputs, options, (index,))[1].relative_error
            advance(1)
    return tuple(sorted(sorted(errors, key=lambda index: errors[index])[: options.best]))


def _searched(field: RadianceField, inputs: TrunkInputs, options: TransferOptions, progress: Progress) -> Search:
    """The search of a budget."""
    few = inputs.head(SEARCH_SAMPLES)
    layers = options.replace if options.replace is not None else (0, *_hidden(field, options))
    budget = options.budget
    assert budget is not None
    # the dense trunk's own width: as many features give it back
    largest = None if layer_kind(options.layer).size is None else int(field.trunk.layers[0].out_features)  # type: ignore[arg-type]

    def build(replace: tuple[int, ...], size: int | None) -> MLP:
        return _drawn(field, options.with_size(size), replace)

    def error(replace: tuple[int, ...], size: int | None) -> float:
        return _closed_form(field, few, options.with_size(size), replace)[1].relative_error

    return search(
        field,
        tuple(sorted(set(layers))),
        build,
        error,
        budget=budget,
        limit=getattr(options, budget),
        largest=largest,
        progress=progress,
    )
