"""The benchmarks of a GPU in stages; scripts/benchmark.sh --gpu starts it. Needs the standard library alone.

Each stage is a process with a clock of its own. One that fails, hangs or is ended stops no other, its results are in
its JSON file as far as it came, and report.md is written anew after each. Run again, it goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent
_PATIENCE = 5.0
"""Seconds between the request to end and the end."""
_LEAST = 5.0
"""Seconds below which a stage is not begun."""
_NEEDED = ("torch", "triton", "nerfstudio")


@dataclass
class Stage:
    """One part of the benchmarks."""

    name: str
    title: str
    """Heading in the report."""
    seconds: float
    """How long it may take."""
    words: Callable[[], Sequence[str]]
    """What is run; asked when its turn comes. Raises LookupError, saying what is missing, where it cannot."""


def main() -> int:
    """Runs the stages that are asked for; returns 0 where all of them ended well, else 1."""
    options = _options()
    folder = options.folder.resolve()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        print(f"benchmark: {folder} cannot be made ({error.strerror}); name another folder", file=sys.stderr)
        return 1
    environment = _environment(options.device)
    found = _ask(environment)
    missing = [name for name in _NEEDED if name not in found]
    if missing:
        print(f"benchmark: {sys.executable} has no {', '.join(missing)}: what needs them will fail", flush=True)
    if options.device == "cuda" and not found.get("cuda"):
        line = "torch finds no CUDA device; give --device cpu to try the stages at tiny sizes, or mend the driver"
        print(f"benchmark: {line} (nvidia-smi)", file=sys.stderr)
        return 1
    if "triton" in found:
        cache = kernel_cache(options.cache or folder / "kernels", found["triton"])
        environment["TRITON_CACHE_DIR"] = str(cache)
    stages = gpu_stages(folder) if options.device == "cuda" else cpu_stages(folder)
    chosen = [stage for stage in stages if stage.name in (options.stages or [stage.name])]
    return run_stages(chosen, folder, options.limit, environment, found)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/benchmark.sh --gpu", description="Measures a CUDA device in stages.")
    parser.add_argument("folder", nargs="?", type=Path, default=PROJECT / "outputs" / "benchmark" / "gpu")
    parser.add_argument("--limit", type=float, default=600.0, help="Seconds for all stages together.")
    parser.add_argument(
        "--cache", type=Path, help="Folder of compiled kernels. Default: kernels in the results' folder."
    )
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: all stages at tiny sizes.")
    names = [stage.name for stage in cpu_stages(Path())]
    parser.add_argument("--stages", nargs="+", choices=names, help="The stages to run. Default: all of them.")
    options = parser.parse_args()
    if not options.limit > 0:
        parser.error(f"--limit {options.limit:g}: it must be more than 0")
    return options


def _environment(device: str) -> dict[str, str]:
    """That of the stages: the package is found where it lies, threads wait asleep, and nothing asks for a screen."""
    paths = [str(PROJECT), str(PROJECT / "viewer"), *filter(None, [os.environ.get("PYTHONPATH")])]
    quiet = {"PYTHONUNBUFFERED": "1", "TQDM_DISABLE": "1", "MPLBACKEND": "Agg", "COLUMNS": "150"}
    kept = os.environ | {"PYTHONPATH": os.pathsep.join(paths)} | quiet
    kept.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    return kept | ({"CUDA_VISIBLE_DEVICES": ""} if device == "cpu" else {})


def _ask(environment: dict[str, str]) -> dict[str, Any]:
    """The versions of the packages that there are, and the name of the GPU, as a process of its own finds them."""
    code = f"""
import importlib.metadata, json
found = {{}}
for name in {(*_NEEDED, "numpy")!r}:
    try:
        found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        pass
if "torch" in found:
    import torch
    if torch.cuda.is_available():
        found["cuda"] = torch.cuda.get_device_name()
print(json.dumps(found))
"""
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], env=environment, capture_output=True, text=True
    )
    try:
        return json.loads(result.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        return {}


def kernel_cache(folder: Path, version: str) -> Path:
    """The folder of kernels compiled by a version of Triton; those of others lie beside it, unused.

    Triton writes down where the files of a kernel lie, and compiles it again where they do not lie there: paths of a
    cache that came from elsewhere are set right.
    """
    cache = folder.resolve() / f"triton-{version}"
    cache.mkdir(parents=True, exist_ok=True)
    for path in cache.glob("*/__grp__*.json"):
        try:
            group = json.loads(path.read_text())
            files = {name: str(path.parent / name) for name in group["child_paths"]}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue  # Triton compiles that kernel again
        if files != group["child_paths"]:
            path.write_text(json.dumps(group | {"child_paths": files}))
    return cache


# What is measured


def _bench(command: str, *words: object) -> list[str]:
    return [sys.executable, "-W", "ignore", "-m", "eugen_fields.benchmark", command, *map(str, words)]


def _runs(path: Path) -> list[str]:
    """The folders of the runs in a file of eugen-bench train. Raises LookupError where there are none."""
    try:
        runs = [run["run"] for run in json.loads(path.read_text())["runs"]]
    except (OSError, ValueError, KeyError) as error:
        raise LookupError(f"{path.name} has no trained runs ({type(error).__name__})") from None
    if not runs:
        raise LookupError(f"{path.name} has no trained runs")
    return runs


def gpu_stages(folder: Path) -> list[Stage]:
    """The stages on a GPU, the most wanted first."""
    field = ("--network", "field", "--mode", "inference", "--dtype", "bfloat16", "--order", 1, "--batch", 1 << 20)
    trunk = ("--network", "trunk", "--mode", "training", "--dtype", "bfloat16", "--order", 1, "--train-batch", 1 << 18)
    ways = ("--backend", "eager", "fused")
    return _stages(
        folder,
        device="cuda",
        seconds={"kernels": 240, "layers": 90, "training_layers": 60, "train": 170}
        | dict.fromkeys(("render", "isdf", "captures"), 60),
        layers=(*field, *ways, "--layer", "dense", "eugen", "prp-hadamard", "--width", 256, "--num-features", 32, 64,
                "--rounds", 20),
        training_layers=(*trunk, *ways, "--layer", "dense", "eugen", "--width", 256, "--num-features", 32, 64,
                         "--rounds", 12),
        train=("--method", "eugen-nerf", "--layer", "dense", "eugen", "eugen:backend=fused", "dense:backend=fused",
               "--seconds", 30, "--checkpoints", 15, "--curve-views", 2, "--views", 5),
        render=("--sizes", 400, 800, "--rounds", 6),
        isdf=("--method", "eugen-isdf", "--kinds", "dense", "eugen", "eugen:backend=fused", "--rounds", 12,
              "--query-points", 1_000_000, "--tile", 1 << 18),
        captures=("--scene", PROJECT / "scenes" / "garden_table", "--method", "eugen-mipnerf",
                  "--layer", "dense", "eugen", "--seconds", 15, "--checkpoints", 3, "--curve-views", 1, "--views", 2),
    )  # fmt: skip


def cpu_stages(folder: Path) -> list[Stage]:
    """The same stages on a CPU, at sizes that say nothing of speed: to try them."""
    layers = (
        "--backend",
        "eager",
        "--order",
        1,
        "--layer",
        "dense",
        "eugen",
        "--width",
        16,
        "--num-features",
        8,
        "--rounds",
        2,
    )
    small = ("samples_per_diagonal=32", "grid_resolution=16", "grid_warmup_steps=10", "num_layers=2", "layer_width=32")
    short = ("--seconds", 1.0, "--checkpoints", 1, "--curve-views", 1, "--views", 1)
    return _stages(
        folder,
        device="cpu",
        seconds=dict.fromkeys(("kernels", "layers", "training_layers", "train", "render", "isdf", "captures"), 120),
        kernels=("--only", "eugen, m = 64, float16", "--rows", 33),
        layers=("--network", "field", "--mode", "inference", "--batch", 64, *layers),
        training_layers=("--network", "trunk", "--mode", "training", "--train-batch", 64, *layers),
        train=("--scene", PROJECT / "scenes" / "hard" / "tiny", "--method", "eugen-nerf-tiny", "--layer", "dense",
               "--options", *small, *short),
        render=("--sizes", 16, "--views", 1, "--rounds", 1),
        isdf=("--method", "eugen-isdf-tiny", "--kinds", "dense", "--rounds", 1, "--query-points", 500),
        captures=("--scene", PROJECT / "scenes" / "garden_table", "--method", "eugen-mipnerf-tiny", "--layer", "dense",
                  "--options", *small[:1], *small[3:], *short),
    )  # fmt: skip


def _stages(
    folder: Path,
    *,
    device: str,
    seconds: Mapping[str, float],
    layers: Sequence[object],
    training_layers: Sequence[object],
    train: Sequence[object],
    render: Sequence[object],
    isdf: Sequence[object],
    captures: Sequence[object],
    kernels: Sequence[object] = (),
) -> list[Stage]:
    """The stages, each with the words that are its own."""

    def on(command: str, file: str, *words: object) -> Callable[[], list[str]]:
        return lambda: _bench(command, *words, "--device", device, "--json", folder / file)

    trained = ("--budget", "time", "--goal", 30, "--output", folder / "runs")
    commands: dict[str, tuple[str, Callable[[], list[str]]]] = {
        "kernels": ("Kernels against float64", on("kernels", "kernels.json", *kernels)),
        "layers": ("Networks, inference", on("layers", "layers.json", *layers)),
        "training_layers": ("Networks, training", on("layers", "training_layers.json", *training_layers)),
        "train": ("Training to 30 dB", on("train", "train.json", *train, *trained)),
        "render": ("Frames", lambda: on("render", "render.json", *_runs(folder / "train.json"), *render)()),
        "isdf": ("Signed distance", on("isdf-speed", "isdf.json", *isdf)),
        "captures": ("A capture", on("train", "captures.json", *captures, *trained)),
    }
    return [Stage(name, title, seconds[name], words) for name, (title, words) in commands.items()]


# Running


def run_stages(
    stages: Sequence[Stage], folder: Path, limit: float, environment: dict[str, str], about: dict[str, Any]
) -> int:
    """Runs stages one after the other, and writes the report after each; returns 0 where all of them ended well.

    Args:
        folder: of the results, the output of each stage (NAME.log), stages.json and report.md.
        limit: seconds for all of them together.
        about: what the report begins with, by name.
    """
    start, states = time.monotonic(), {}
    begun = {"about": about, "limit": limit, "stages": states}
    for stage in stages:
        left = limit - (time.monotonic() - start)
        seconds = min(stage.seconds, left)
        states[stage.name] = {"title": stage.title, "state": "running", "seconds": 0.0}
        _write_report(folder, begun)
        print(f"== {stage.title} (at most {max(seconds, 0):.0f} s)", flush=True)
        began = time.monotonic()
        try:
            if seconds < min(_LEAST, stage.seconds):
                raise LookupError(f"no time was left of the {limit:g} s")
            state = _run(stage.words(), folder / f"{stage.name}.log", folder / f"{stage.name}.md", seconds, environment)
        except LookupError as reason:
            state = f"not run: {reason.args[0]}"
            (folder / f"{stage.name}.md").unlink(missing_ok=True)
        except BaseException:
            states[stage.name] |= {"state": "ended from outside", "seconds": round(time.monotonic() - began, 1)}
            _write_report(folder, begun)
            raise
        states[stage.name] |= {"state": state, "seconds": round(time.monotonic() - began, 1)}
        _write_report(folder, begun)
        print(f"   {state}, {states[stage.name]['seconds']:.0f} s", flush=True)
    print(f"written to {folder / 'report.md'}")
    return int(any(state["state"] != "done" for state in states.values()))


def _run(words: Sequence[str], log: Path, table: Path, seconds: float, environment: dict[str, str]) -> str:
    """Runs a command to its end or to that of its time; what it prints goes to two files. Returns how it ended."""
    with log.open("w") as errors, table.open("w") as output:
        process = subprocess.Popen(
            words, cwd=PROJECT, env=environment, stdout=output, stderr=errors, start_new_session=True
        )
        try:
            status = process.wait(seconds)
        except subprocess.TimeoutExpired:
            return f"ended after {seconds:.0f} s"
        finally:
            _end(process)
    if status == 0:
        return "done"
    last = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return f"failed (status {status}{': ' + last[-1].strip()[:200] if last else ''})"


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends a process and all that it has started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        try:
            process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            continue
    process.wait()


def _write_report(folder: Path, begun: dict[str, Any]) -> None:
    """Writes stages.json, and report.md: how each stage ended, and what those that did not fail printed."""
    states = begun["stages"]
    lines = ["# scripts/benchmark.sh --gpu", ""]
    lines += [f"- {name}: {value}" for name, value in begun["about"].items()]
    lines += ["", "| stage | seconds | how it ended |", "|---|---|---|"]
    lines += [
        f"| {state['title']} | {state['seconds']:.0f} | {state['state'].replace('|', ' ')} |"
        for state in states.values()
    ]
    for name, state in states.items():
        table = folder / f"{name}.md"
        text = table.read_text(errors="replace").strip() if table.exists() else ""
        if text and state["state"] != "running":
            lines += ["", f"## {state['title']}", "", text]
    for name, text in (("stages.json", json.dumps(begun, indent=1)), ("report.md", "\n".join(lines))):
        beside = folder / f".{name}.new"
        beside.write_text(text + "\n")
        beside.replace(folder / name)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the stage that runs is ended too
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
