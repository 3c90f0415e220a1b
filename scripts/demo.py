"""Trains a field on a scene, scores it on the test views, draws a picture, exports a mesh and writes a field file and a
web page."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

from eugen_fields.errors import InputError, exit_on_input_error
from eugen_fields.layers.names import LayerName

if TYPE_CHECKING:
    from eugen_fields.runs import Run

PROJECT = Path(__file__).resolve().parent.parent
_FIELD_BITS = 6
"""Of the field file: 0.1 to 0.2 dB are lost, and no time goes to a search for fewer bytes."""


@dataclass
class Demo:
    """Trains a field on a scene, scores it on the test views, draws a picture, exports a mesh and writes a field
    file and a web page. Runs on CUDA where there is a device, else on the CPU."""

    scene: Path = PROJECT / "scenes" / "hotdog"
    """Folder of the scene: Blender-synthetic layout, or one with a transforms.json."""
    method: Literal[
        "eugen-nerf-tiny",
        "eugen-nerf",
        "prp-nerf",
        "eugen-mipnerf-tiny",
        "eugen-mipnerf",
        "prp-mipnerf",
        "eugen-planes-tiny",
        "eugen-planes",
        "prp-planes",
    ] = "eugen-nerf-tiny"
    """Method to train. Those named tiny are sized for a CPU; the others want a GPU."""
    layer: LayerName | None = None
    """Kind of the hidden layers. Default: the method's own."""
    steps: int | None = None
    """Training steps. Default: the method's own."""
    viewer: bool = True
    """Serve the live viewer during training."""
    output: Path = PROJECT / "outputs" / "demo"
    """Folder of everything that the demo writes."""
    seed: int = 42
    """Seed of every random number."""
    mesh_resolution: int = 192
    """Cells of the mesh extraction along the longest side of the scene box."""

    def main(self) -> None:
        """Runs the demo."""
        from eugen_fields.benchmark.common.devices import device_name
        from eugen_fields.benchmark.common.picture import comparison_picture
        from eugen_fields.benchmark.mesh.mesh_scores import read_mesh, silhouette_overlaps
        from eugen_fields.benchmark.quality.train import make_config, parameter_count, score_run, train_run
        from eugen_fields.meshing.export_mesh import export_mesh
        from eugen_fields.meshing.options import MeshOptions
        from eugen_fields.runs import open_run
        from eugen_fields.writing import written_beside

        MeshOptions(resolution=self.mesh_resolution).check()  # now, not after the training
        config = make_config(
            self.method,
            self.scene,
            self.output,
            layer=self.layer,
            steps=self.steps,
            seed=self.seed,
            viewer=self.viewer,
        )
        trainer, seconds = train_run(config)
        scores = score_run(trainer)
        picture = self.output / "comparison.png"
        comparison_picture(trainer, picture)
        run_folder = config.get_base_dir()
        run = open_run(run_folder)
        mesh = export_mesh(run, self.output / "mesh.ply", resolution=self.mesh_resolution)
        in_scene = read_mesh(mesh["path"]).apply_transform(run.world_from_scene.cpu().double().inverse().numpy())
        overlaps = silhouette_overlaps(in_scene, trainer.pipeline.datamanager.fixed_indices_eval_dataloader)
        stored, said = self.store(run)
        metrics = {
            "scene": str(self.scene),
            "method": self.method,
            "layer": config.pipeline.model.layer,  # type: ignore[attr-defined]
            "device": device_name(config.machine.device_type),
            "steps": config.max_num_iterations,
            "seed": self.seed,
            "train_seconds": round(seconds, 2),
            "psnr": scores["psnr"],
            "ssim": scores["ssim"],
            "parameters": parameter_count(trainer),
            "mesh": str(mesh["path"]),
            "mesh_components": mesh["components"],
            "mesh_watertight": mesh["watertight"],
            "mesh_silhouette_iou": sum(overlaps) / len(overlaps) if overlaps else None,
            **stored,
            "picture": str(picture),
            "run": str(run_folder),
            "views": scores["views"],
        }
        path = self.output / "metrics.json"
        with written_beside(path) as unfinished:
            unfinished.write_text(json.dumps(metrics, indent=1) + "\n", encoding="utf-8")
        print(
            f"\n{len(scores['views'])} test views: PSNR {scores['psnr']:.2f} dB, SSIM {scores['ssim']:.4f}"
            f" after {config.max_num_iterations} steps in {seconds:.0f} s on {metrics['device']}"
            f"\n  metrics  {path}\n  picture  {picture}\n  mesh     {mesh['path']}\n{said}  run      {run_folder}"
            f"\nLook around in it:  ns-viewer --load-config {run_folder / 'config.yml'}"
        )

    def store(self, run: Run) -> tuple[dict[str, Any], str]:
        """Writes the field file and the page of a run; what metrics.json has of them, and lines for people."""
        from eugen_fields.storing.store import store_run
        from eugen_fields.storing.web import write_page

        field, page = self.output / "scene.field", self.output / "scene.html"
        try:
            facts = store_run(run, field, bits=_FIELD_BITS)
        except InputError as error:  # of some methods no file can be written
            return {}, f"  field    none: {error.message}\n"
        stored = {"field": str(field), "field_bytes": facts["bytes"]}
        said = f"  field    {field}, {facts['bytes']:,} bytes"
        if "psnr_after" in facts:
            stored["field_psnr"] = facts["psnr_after"]
            said += f", PSNR {facts['psnr_after']:.2f} dB"
        try:
            size = write_page(field, page)
        except InputError as error:  # wide networks
            return stored, f"{said}\n  page     none: {error.message}\n"
        return stored | {"page": str(page), "page_bytes": size}, f"{said}\n  page     {page}, {size:,} bytes\n"


if __name__ == "__main__":
    warnings.filterwarnings("ignore", category=UserWarning)
    warnings.filterwarnings("ignore", category=FutureWarning)
    with exit_on_input_error():
        tyro.cli(Demo).main()
