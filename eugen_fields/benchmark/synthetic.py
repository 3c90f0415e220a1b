"""`eugen-bench synthetic`: trained EUGen, SNNK and low-rank layers as stand-ins for one random dense layer.

The comparison is that of "EUGens: Efficient, Unified, and General Dense Layers" (arXiv 2410.09771): a dense layer of
random weights, inputs uniform in [0, 1]. Each stand-in has as many parameters as the EUGen layer, as nearly as whole
numbers allow, and the same steps, batches and number of learning rates tried.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from eugen_fields.benchmark.results import find_run, load_results, save_results
from eugen_fields.errors import InputError
from eugen_fields.layers import EUGenLinear, LowRankLinear, SNNKLinear
from eugen_fields.layers.activations import get_activation

KINDS = ("eugen", "snnk", "low-rank")
_BATCH = 128
_TEST_INPUTS = 4096
_TEST_SEED = 1 << 20
"""Seed of the held-out inputs plus the run's seed: apart from those of training and of the layers."""


@dataclass
class Synthetic:
    """Trains EUGen, SNNK and low-rank layers of equal size to copy one random dense layer, and compares the errors."""

    activations: tuple[Literal["relu", "softplus", "gelu"], ...] = ("relu", "softplus", "gelu")
    """Activations of the dense layer."""
    width: int = 512
    """Inputs and outputs of the dense layer."""
    num_features: int = 128
    """Random features m of the EUGen layer; the other layers get its number of parameters."""
    steps: int = 1200
    """Training steps of each run, on batches of 128 fresh inputs."""
    seeds: int = 3
    """Dense layers (each with its own draws of the stand-ins and inputs), with seeds 0, 1, ..."""
    learning_rates: tuple[float, ...] = (3e-4, 1e-3, 3e-3, 1e-2)
    """Learning rates tried for each kind and activation on a dense layer of another seed; the best is then used."""
    device: str = "cpu"
    """Where to run."""
    json: Path = Path("outputs/benchmark/synthetic.json")
    """Results; runs that are already in it are not run again."""
    plot: Path | None = None
    """Also draw the errors into this PNG."""

    def main(self) -> None:
        """Runs what is missing in the JSON file, prints the table and draws the plot."""
        for name, value in (("width", self.width), ("num-features", self.num_features), ("seeds", self.seeds)):
            if value < 1:
                raise InputError(f"--{name} is {value}; it must be 1 or more.")
        rates = list(self.learning_rates)
        if self.steps < 1 or not rates or min(rates) <= 0:
            raise InputError("--steps must be 1 or more, and --learning-rates at least one number above 0.")
        if torch.device(self.device).type == "cuda" and not torch.cuda.is_available():
            raise InputError("--device cuda: torch finds no CUDA device here; take --device cpu.")
        document = load_results(self.json)
        tried = len(rates) if len(rates) > 1 else 0
        total = len(self.activations) * len(KINDS) * (tried + self.seeds)
        runs = []
        with tqdm(total=total, desc="Training layers", unit="run") as bar:
            for activation in self.activations:
                for kind in KINDS:
                    rate = rates[0]
                    if tried:  # the tuning seed is none of those reported
                        trials = [self._run(document, activation, kind, r, -1, bar) for r in rates]
                        rate = min(trials, key=lambda run: (math.isnan(run["relative_error"]), run["relative_error"]))[
                            "learning_rate"
                        ]
                    runs += [self._run(document, activation, kind, rate, seed, bar) for seed in range(self.seeds)]
        print(markdown_table(runs))
        print(f"written to {self.json}")
        if self.plot is not None:
            draw(runs, self.plot)
            print(f"drawn to {self.plot}")

    def _run(
        self, document: dict[str, Any], activation: str, kind: str, rate: float, seed: int, bar: tqdm
    ) -> dict[str, Any]:
        key = {
            "activation": activation,
            "layer": kind,
            "learning_rate": rate,
            "seed": seed,
            "width": self.width,
            "num_features": self.num_features,
            "steps": self.steps,
        }
        bar.set_postfix_str(f"{activation} {kind}, rate {rate:g}, seed {seed}")
        run = find_run(document, key)
        if run is None:
            # the tuning run, seed -1, is a dense layer of its own
            run = key | copy_dense_layer(
                activation, kind, rate, seed + 1, self.width, self.num_features, self.steps, self.device
            )
            document["runs"].append(run)
            save_results(document, self.json)
        bar.update(1)
        return run


def equal_size(kind: str, width: int, num_features: int) -> int:
    """Features or rank at which a layer of `kind` comes nearest to the parameters of an EUGen layer (order 1, norm
    column: m (d + 1) + m l + l). SNNK has the same; a low-rank layer has r (d + l) + l."""
    if kind != "low-rank":
        return num_features
    return max(1, round(num_features * (2 * width + 1) / (2 * width)))


def make_layer(kind: str, width: int, num_features: int, activation: str, seed: int) -> nn.Module:
    """The stand-in for activation(dense): EUGen with the activation as its feature activation and a norm column
    (implicit form), SNNK with the activation's frequencies, or a low-rank layer followed by the activation."""
    size = equal_size(kind, width, num_features)
    if kind == "eugen":
        return EUGenLinear(width, width, num_features=size, feature_activation=activation, seed=seed)
    if kind == "snnk":
        return SNNKLinear(width, width, num_features=size, activation=activation, seed=seed)
    return nn.Sequential(LowRankLinear(width, width, rank=size, seed=seed), _Activation(get_activation(activation)))


class _Activation(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def copy_dense_layer(
    activation: str, kind: str, rate: float, seed: int, width: int, num_features: int, steps: int, device: str
) -> dict[str, Any]:
    """Trains one stand-in and measures it on held-out inputs.

    Training is Adam on the squared error, with a tenth of the steps of warm-up and cosine decay to 0.

    Returns:
        relative_error: |y - y'| / |y| over all held-out outputs. spread_error: |y - y'| / |y - mean y|; 1 is what
        the best constant gets, which matters because inputs uniform in [0, 1] have a large mean and so have outputs.
        constant_error: the relative error of that constant. parameters, seconds.
    """
    torch.manual_seed(seed)
    dense = nn.Linear(width, width).to(device).requires_grad_(False)
    function = get_activation(activation)
    layer = make_layer(kind, width, num_features, activation, seed).to(device)
    optimizer = torch.optim.Adam(layer.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate_factor(step / steps))
    generator = torch.Generator(device).manual_seed(seed)
    start = time.perf_counter()
    for _ in range(steps):
        x = torch.rand(_BATCH, width, generator=generator, device=device)
        loss = F.mse_loss(layer(x), function(dense(x)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    seconds = time.perf_counter() - start
    with torch.no_grad():
        x = torch.rand(
            _TEST_INPUTS, width, generator=torch.Generator(device).manual_seed(_TEST_SEED + seed), device=device
        )
        y = function(dense(x)).double()
        error, spread, size = (layer(x) - y).norm(), (y - y.mean(dim=0)).norm(), y.norm()
    return {
        "relative_error": float(error / size),
        "spread_error": float(error / spread),
        "constant_error": float(spread / size),
        "parameters": sum(parameter.numel() for parameter in layer.parameters()),
        "seconds": seconds,
    }


def _rate_factor(progress: float) -> float:
    """Linear warm-up over the first tenth, times cosine decay to 0."""
    return min(1.0, 10.0 * progress + 0.01) * 0.5 * (1.0 + math.cos(math.pi * progress))


def _range(runs: list[dict[str, Any]], name: str) -> tuple[float, float, float]:
    """Median, least and largest over the seeds: one seed that diverged shows, and does not move the median far."""
    values = [run[name] for run in runs]
    return statistics.median(values), min(values), max(values)


def _groups(runs: list[dict[str, Any]]) -> dict[tuple[str, str], list[dict[str, Any]]]:
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for run in runs:
        groups.setdefault((run["activation"], run["layer"]), []).append(run)
    return groups


def markdown_table(runs: list[dict[str, Any]]) -> str:
    """One row per activation and layer kind: median (least to largest) over the seeds."""
    rows = [
        "| activation | layer | learning rate | parameters | seeds | relative error | error / spread of the outputs "
        "| best constant | s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for (activation, layer), group in _groups(runs).items():
        relative, spread = _range(group, "relative_error"), _range(group, "spread_error")
        rows.append(
            f"| {activation} | {layer} | {group[0]['learning_rate']:g} | {group[0]['parameters']:,} | {len(group)} "
            f"| {relative[0]:.4f} ({relative[1]:.4f} to {relative[2]:.4f}) "
            f"| {spread[0]:.3f} ({spread[1]:.3f} to {spread[2]:.3f}) "
            f"| {_range(group, 'constant_error')[0]:.4f} | {_range(group, 'seconds')[0]:.1f} |"
        )
    return "\n".join(rows)


def draw(runs: list[dict[str, Any]], path: Path) -> None:
    """Bars of the median error relative to the outputs' spread, one group per activation, and a dot for every seed."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    groups = _groups(runs)
    activations = list(dict.fromkeys(activation for activation, _ in groups))
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for index, kind in enumerate(KINDS):
        places = [place + (index - 1) * 0.27 for place in range(len(activations))]
        medians = [_range(groups[activation, kind], "spread_error")[0] for activation in activations]
        bars = axes.bar(places, medians, 0.25, label=kind)
        axes.bar_label(bars, fmt="%.2f", label_type="center", color="white", fontsize=9)
        for place, activation in zip(places, activations):
            values = [run["spread_error"] for run in groups[activation, kind]]
            axes.scatter([place] * len(values), values, s=14, color="black", linewidths=0, zorder=3)
    axes.axhline(1.0, color="black", linestyle="--", linewidth=1, label="best constant", zorder=2)
    axes.set_xticks(range(len(activations)), activations)
    axes.set_ylabel("test error / spread of the outputs")
    run = runs[0]
    axes.set_title(
        f"Copies of a dense layer {run['width']}x{run['width']}, about {run['parameters']:,} parameters each\n"
        f"{run['steps']:,} steps; bars: median, dots: seeds",
        fontsize=10,
    )
    axes.legend(ncols=4, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.08), frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    plt.close(figure)
