"""Who makes the measurements of a sweep: this process, one after the other, or the processes of a Ray cluster."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from tqdm import tqdm

from eugen_fields.benchmark.common.results import Results
from eugen_fields.errors import InputError

Engine: TypeAlias = Literal["local", "ray"]
_RETRIES = 3
"""Times that a run is started again whose worker was lost."""


@dataclass(frozen=True)
class Case:
    """One measurement of a sweep."""

    key: dict[str, Any]
    """What names it in the JSON file."""
    words: str
    """What it is, for people."""
    measure: Callable[[], dict[str, Any]]
    """Makes it. With Ray it is called in another process, maybe on another machine: it must not need what only this one
    has."""


def run_cases(
    cases: Sequence[Case],
    results: Results,
    *,
    engine: Engine = "local",
    address: str | None = None,
    gpus: int = 0,
) -> list[dict[str, Any]]:
    """The measurement of each case, in their order: from the file, or made now and saved there as soon as it is made.

    Args:
        engine: local makes one after the other; ray many at once, each on one processor, or one GPU.
        address: of a running Ray cluster; None takes the one that RAY_ADDRESS names, else starts one on this machine.
        gpus: that one measurement takes.

    Raises:
        InputError: what a measurement raises; Ray is not installed, or no cluster answers.
    """
    missing = [case for case in cases if results.find(case.key) is None]
    if engine == "ray" and missing:
        _run_on_ray(missing, results, address, gpus)
        results.sort([case.key for case in cases])
    for number, case in enumerate(cases, start=1):
        if case in missing and results.find(case.key) is None:
            print(f"{case.words} ({number} of {len(cases)})", flush=True)
        results.once(case.key, case.measure)
    return [found for case in cases if (found := results.find(case.key)) is not None]


def _run_on_ray(cases: Sequence[Case], results: Results, address: str | None, gpus: int) -> None:
    try:
        import ray
    except ImportError:
        raise InputError("--engine ray: Ray is not installed. Install it with: pip install ray") from None
    started_here = not ray.is_initialized()
    if started_here:
        _connect(ray, address)
    try:
        remote = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=_RETRIES, retry_exceptions=False)(_measured)
        waiting = {remote.remote(case.measure, os.getcwd()): case for case in cases}
        try:
            _collect(ray, waiting, results)
        finally:
            for unfinished in waiting:  # Ctrl-C, or a run that failed: what is done is in the file
                ray.cancel(unfinished, force=True)
    finally:
        if started_here:
            ray.shutdown()


def _connect(ray: Any, address: str | None) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray's report of usage to its makers
    address = address or os.environ.get("RAY_ADDRESS")
    options: dict[str, Any] = {"address": address} if address else {"include_dashboard": False}
    try:
        ray.init(**options, log_to_driver=False, logging_level="error")
    except Exception as error:  # what Ray raises here has no common class
        reason = str(error).strip().partition("\n")[0]
        if address:
            raise InputError(
                f"--ray-address or RAY_ADDRESS {address}: no Ray cluster answers there ({reason}). `ray status` says "
                "whether one runs; without either, one is started on this machine."
            ) from None
        raise InputError(f"--engine ray: Ray does not start on this machine ({reason}).") from None


def _collect(ray: Any, waiting: dict[Any, Case], results: Results) -> None:
    """Saves each measurement as it ends and takes it out of those that are waited for."""
    with tqdm(total=len(waiting), desc="Measuring", unit="run") as bar:
        while waiting:
            for done in ray.wait(list(waiting), timeout=1.0)[0]:
                case = waiting.pop(done)
                try:
                    found = ray.get(done)
                except ray.exceptions.RayTaskError as error:
                    raise _cause(error) from None
                except ray.exceptions.RayError as error:
                    reason = str(error).strip().partition("\n")[0]
                    raise InputError(
                        f"{case.words}: its worker was lost {_RETRIES + 1} times ({reason}). What was measured is in "
                        f"{results.path}; the same command goes on from there."
                    ) from None
                results.once(case.key, lambda found=found: found)
                bar.set_postfix_str(case.words)
                bar.update()


def _cause(error: Any) -> BaseException:
    """What a measurement raised in its process: as it is where a person can do something about it."""
    return InputError(error.cause.message) if isinstance(error.cause, InputError) else error


def _measured(measure: Callable[[], dict[str, Any]], folder: str) -> dict[str, Any]:
    """What a worker does: relative paths are those of the folder that the sweep was started in."""
    import torch

    if not Path(folder).is_dir():
        raise InputError(
            f"--engine ray: a worker does not see {folder}, from which the sweep was started. Machines of the cluster "
            "have to share their files."
        )
    os.chdir(folder)
    torch.set_num_threads(1)
    return measure()
