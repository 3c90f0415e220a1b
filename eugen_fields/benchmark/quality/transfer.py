"""`eugen-bench transfer`: what a trained run loses when its layers are replaced, and what fine-tuning gives back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

from eugen_fields.benchmark.common.results import find_run, load_results, run_name, save_results
from eugen_fields.errors import InputError
from eugen_fields.layers.names import ReplacementName

if TYPE_CHECKING:
    from eugen_fields.benchmark.quality.scoring import Scorer

VARIANTS = ("closed form", "closed form + fine-tuning", "random start + fine-tuning")


@dataclass
class Transfer:
    """Transfers a trained dense run to smaller EUGen layers and compares PSNR on the test views: the closed form alone,
    the closed form and a short fine-tuning, and the same fine-tuning from a random start."""

    run: tyro.conf.Positional[Path]
    """Folder of the trained run, with layer dense."""
    layer: ReplacementName = "eugen"
    """Kind of the new layers."""
    projections: Literal["neurons", "mixed", "principal", "random"] = "neurons"
    """EUGen: where projections come from."""
    shares: tuple[int, ...] = (2, 4, 8)
    """The new layers get width / share features (low-rank: that rank)."""
    best: tuple[int, ...] = (0, 3)
    """Replace this many layers, those that change the output least. 0: every hidden layer but the first."""
    finetune_steps: int = 500
    """Steps of fine-tuning."""
    views: int = 0
    """Test views to score, evenly spaced. 0: all."""
    seed: int = 0
    """Of the rays, the random start and the fine-tuning."""
    device: str | None = None
    """Where to run. Default: CUDA if there is one, else the CPU."""
    json: Path = Path("outputs/benchmark/transfer.json")
    """Results; what is already in it is not run again."""
    plot: Path | None = None
    """Also draw PSNR against the number of features into this PNG."""

    def main(self) -> None:
        """Runs what is missing in the JSON file, prints the table and draws the plot."""
        from eugen_fields.benchmark.quality.scoring import Scorer
        from eugen_fields.methods import METHODS
        from eugen_fields.transfer.rays import training_rays
        from eugen_fields.transfer.teacher import open_teacher

        if self.finetune_steps < 1 or not self.shares or min(self.shares) < 1 or min(self.best, default=-1) < 0:
            raise InputError("--finetune-steps and --shares must be 1 or more, --best 0 or more.")
        document = load_results(self.json)
        run, config = open_teacher(self.run, self.device, None, 128, METHODS)
        scorer = Scorer(run, config, self.views)
        rays = training_rays(run, config)
        width = int(run.field.trunk.layers[0].out_features)  # type: ignore[arg-type]
        rows = [self._measure(document, {"variant": "teacher", "best": 0, "features": width}, run, scorer, rays)]
        for best in self.best:
            for share in self.shares:
                for variant in VARIANTS:
                    key = {"variant": variant, "best": best, "features": max(1, width // share)}
                    rows.append(self._measure(document, key, run, scorer, rays))
        print(markdown_table(rows))
        print(f"written to {self.json}")
        if self.plot is not None:
            draw(rows, self.plot)
            print(f"drawn to {self.plot}")

    def _measure(self, document: dict[str, Any], key: dict[str, Any], run: Any, scorer: Scorer, rays: Any):
        """One row: from the document, or measured and saved there."""
        from eugen_fields.transfer.fit import transfer_field
        from eugen_fields.transfer.options import TransferOptions

        key = key | {
            "layer": self.layer,
            "projections": self.projections,
            "finetune_steps": self.finetune_steps,
            "views": self.views,
            "seed": self.seed,
            "run": run_name(run.folder),
            "step": run.step,
        }
        found = find_run(document, key)
        if found is not None:
            return found
        print(f"{key['variant']}, {key['features']} features, best {key['best'] or 'all'}", flush=True)
        result: dict[str, Any] = {"fit_seconds": 0.0, "finetune_seconds": 0.0, "replace": []}
        field = run.field
        if key["variant"] != "teacher":
            options = TransferOptions(
                run=self.run,
                layer=self.layer,
                num_features=key["features"],
                best=key["best"],
                projections=self.projections,
                finetune_steps=0 if key["variant"] == "closed form" else self.finetune_steps,
                seed=self.seed,
            )
            random_start = key["variant"].startswith("random")
            field, report = transfer_field(run, rays, options, random_start=random_start)
            result |= {
                "fit_seconds": report.fit_seconds,
                "finetune_seconds": report.finetune_seconds,
                "replace": list(field.trunk.replace),
            }
        folded = field.folded()
        result["trunk_parameters"] = sum(parameter.numel() for parameter in field.trunk.parameters())
        result["trunk_multiplications"] = folded.trunk.multiplications()  # type: ignore[operator]
        row = key | result | scorer.score(field)
        document["runs"].append(row)
        save_results(document, self.json)
        return row


def markdown_table(rows: list[dict[str, Any]]) -> str:
    """One row a variant."""
    lines = [
        "| layers | features | variant | PSNR (dB) | SSIM | fit (s) | fine-tuning (s) | trunk parameters "
        "| multiplications, folded |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        layers = " ".join(map(str, row["replace"])) or "none"
        lines.append(
            f"| {layers} | {row['features']} | {row['variant']} | {row['psnr']:.2f} | {row['ssim']:.4f} "
            f"| {row['fit_seconds']:.1f} | {row['finetune_seconds']:.1f} | {row['trunk_parameters']:,} "
            f"| {row['trunk_multiplications']:,} |"
        )
    return "\n".join(lines)


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """PSNR against the number of features: one panel for each set of layers, one line for each variant."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    teacher = next(row for row in rows if row["variant"] == "teacher")
    sets = list(dict.fromkeys(row["best"] for row in rows if row["variant"] != "teacher"))
    figure, panels = plt.subplots(
        1, len(sets), figsize=(4.5 * len(sets), 4.4), sharey=True, squeeze=False, layout="constrained"
    )
    for best, axes in zip(sets, panels[0]):
        for variant in VARIANTS:
            line = sorted(
                (row["features"], row["psnr"]) for row in rows if row["best"] == best and row["variant"] == variant
            )
            axes.plot(*zip(*line), marker="o", label=variant)
        axes.axhline(teacher["psnr"], color="black", linestyle="--", linewidth=1, label="teacher")
        axes.set_xscale("log", base=2)
        ticks = sorted({row["features"] for row in rows if row["variant"] != "teacher"})
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.set_xlabel(f"features per layer (width {teacher['features']})")
        axes.set_title("all hidden layers" if best == 0 else f"the {best} layers that change the output least")
        axes.grid(alpha=0.3)
    panels[0][0].set_ylabel("PSNR over the test views (dB)")
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, ncols=2, loc="outside lower center", frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    plt.close(figure)
