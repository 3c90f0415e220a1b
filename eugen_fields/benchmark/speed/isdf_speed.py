"""`eugen-bench isdf-speed`: milliseconds of a training step and of a query, layer kinds in turn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Literal

from eugen_fields.benchmark.common.devices import choose_device
from eugen_fields.benchmark.common.results import environment, save_results
from eugen_fields.benchmark.common.timing import interleaved, spread
from eugen_fields.errors import InputError


@dataclass
class ISDFSpeed:
    """Times a training step (samples, bounds, losses, both gradients, update) and a query of points (folded, in tiles)
    of layer kinds in turn, so that what else the machine does hits all alike. Ratios are medians of dense over medians
    of the other: above 1 the other is faster."""

    data: Path = Path("scenes/room")
    """Folder of the recording that steps look at."""
    method: Literal["eugen-isdf-tiny", "eugen-isdf", "prp-isdf"] = "eugen-isdf-tiny"
    """Method whose network and batch are timed."""
    kinds: tuple[str, ...] = ("dense", "eugen", "prp")
    """Layer kinds, with options behind colons: eugen:replace=4,5:num_features=128."""
    rounds: int = 15
    """Times that each is measured."""
    query_points: int = 100_000
    """Points of a query."""
    tile: int = 2048
    """Points evaluated at once in a query."""
    seed: int = 0
    """Of the networks and the points."""
    device: str | None = None
    """cpu or cuda. Default: CUDA if there is one."""
    json: Path = Path("outputs/benchmark/isdf_speed.json")
    """Results."""

    def main(self) -> None:
        """Measures, writes the file and prints the table."""
        print(self.report())

    def report(self) -> str:
        """Measures, writes the file, and returns the table."""
        from tqdm import tqdm

        for name in ("rounds", "query_points", "tile"):
            if getattr(self, name) < 1:
                raise InputError(f"--{name.replace('_', '-')} {getattr(self, name)}: it must be at least 1.")
        if "dense" not in self.kinds:
            raise InputError("--kinds: dense must be among them, as the others are compared with it.")
        device = choose_device(self.device)
        timed = {(what, kind): call for kind in self.kinds for what, call in self._timed(kind, device).items()}
        names = {f"{what}.{kind}": (what, kind) for what, kind in timed}
        with tqdm(total=len(names) * (self.rounds + 2), desc="Timing", unit="call") as bar:
            calls = {name: timed[key] for name, key in names.items()}
            times = interleaved(calls, device, self.rounds, seed=self.seed, bar=bar)
        runs = [
            {"kind": kind, "ms": {what: spread(times[f"{what}.{kind}"], 1000.0) for what in ("step", "query")}}
            for kind in self.kinds
        ]
        ratios = {name: median(times[f"{what}.dense"]) / median(times[name]) for name, (what, _) in names.items()}
        settings = {name: getattr(self, name) for name in ("method", "rounds", "query_points", "tile", "seed")}
        save_results(
            {"environment": environment() | {"used": device}, **settings, "runs": runs, "ratios": ratios}, self.json
        )
        lines = ["| layers | step (ms) | query (ms) | dense / this: step | query |", "|---|---|---|---|---|"]
        for run in runs:
            cells = [f"{run['ms'][what]['median']:.1f}" for what in ("step", "query")]
            cells += [f"{ratios[what + '.' + run['kind']]:.2f}" for what in ("step", "query")]
            lines.append(f"| {run['kind']} | " + " | ".join(cells) + " |")
        return "\n".join([*lines, f"\nwritten to {self.json}"])

    def _timed(self, kind: str, device: str) -> dict[str, Callable[[], Any]]:
        """What is timed of a layer kind: a training step, and a query."""
        import torch

        from eugen_fields.benchmark.common.contestants import parse_options
        from eugen_fields.benchmark.quality.train import make_config

        layer, *options = kind.split(":")
        config = make_config(
            self.method, self.data, Path("outputs"), layer=layer, seed=self.seed,
            model_options=parse_options(tuple(options)),
        )  # fmt: skip
        config.fill_in_optimizers()
        torch.manual_seed(self.seed)
        pipeline: Any = config.pipeline.setup(device=device)
        pipeline.train()
        group: Any = config.optimizers["fields"]["optimizer"]
        optimizer = group.setup(params=pipeline.get_param_groups()["fields"])
        manager, model = pipeline.datamanager, pipeline.model
        manager.clock.before_step(0, lambda frame: 0.0)
        # five frames of the stream are known, as after a while of mapping
        manager.clock.keyframes = torch.linspace(0, len(manager.stream) - 1, 5).long().tolist()

        def step() -> None:
            bundle, batch = manager.next_train(0)
            loss = sum(model.get_loss_dict(model(bundle), batch).values())
            optimizer.zero_grad()
            loss.backward()  # type: ignore[union-attr]
            optimizer.step()

        generator = torch.Generator().manual_seed(self.seed)
        places = torch.rand(self.query_points, 3, generator=generator).to(device)
        points = model.field.aabb[0] + places * (model.field.aabb[1] - model.field.aabb[0])
        folded = model.field.folded()
        return {"step": step, "query": lambda: folded.evaluate(points, self.tile)}
