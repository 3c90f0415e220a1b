"""Trains a field on a scene, scores it on the test views, draws a picture, exports a mesh and writes a field file and a
web page."""

from __future__ import annotations

import json
import shlex
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

from eugen_fields.errors import InputError, exit_on_input_error
from eugen_fields.layers.names import LayerName

if TYPE_CHECKING:
    from eugen_fields.mapping.trainer import MappingTrainer
    from eugen_fields.runs import Run
    from eugen_fields.training.trainer import FieldTrainer

PROJECT = Path(__file__).resolve().parent.parent
_FIELD_BITS = 6
"""Of the field file: 0.1 to 0.2 dB are lost, and no time goes to a search for fewer bytes."""


_SUITS = {
    "object": "eugen-nerf-tiny",
    "capture": "eugen-planes-tiny",
    "photos": "eugen-planes-tiny",
    "stream": "eugen-isdf-tiny",
}
"""The method for each kind of scene: the tiny ones learn something in two minutes on a CPU."""


@dataclass
class Demo:
    """Trains a field on a scene, scores it on the test views, draws a picture, exports a mesh and writes a field
    file and a web page. Runs on CUDA where there is a device, else on the CPU."""

    scene: Path = PROJECT / "scenes" / "hotdog"
    """Folder of the scene: an object in the Blender-synthetic layout, a capture with a transforms.json or a COLMAP
    model, a depth stream, or photos alone, whose poses are found first."""
    method: (
        Literal[
            "eugen-nerf-tiny",
            "eugen-nerf",
            "prp-nerf",
            "eugen-mipnerf-tiny",
            "eugen-mipnerf",
            "prp-mipnerf",
            "eugen-planes-tiny",
            "eugen-planes",
            "prp-planes",
            "eugen-isdf-tiny",
            "eugen-isdf",
            "prp-isdf",
        ]
        | None
    ) = None
    """Method to train. Those named tiny are sized for a CPU; the others want a GPU. Default: eugen-nerf-tiny for
    objects, eugen-planes-tiny for captures and photos, eugen-isdf-tiny for depth streams."""
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
        from eugen_fields.benchmark.quality.train import make_config, parameter_count, train_run
        from eugen_fields.data.scenes.kinds import scene_kind
        from eugen_fields.mapping.trainer import MappingTrainer
        from eugen_fields.meshing.options import MeshOptions
        from eugen_fields.runs import open_run
        from eugen_fields.writing import written_beside

        MeshOptions(resolution=self.mesh_resolution).check()  # now, not after the training
        kind = scene_kind(self.scene)
        method = self.method or _SUITS[kind.name]
        chosen = "as --method says" if self.method else "which suits that"
        print(f"{self.scene} {kind.why}. Training {method}, {chosen}.", flush=True)
        scene = self.find_poses() if kind.name == "photos" else self.scene
        config = make_config(
            method,
            scene,
            self.output,
            layer=self.layer,
            steps=self.steps,
            seed=self.seed,
            viewer=self.viewer,
        )
        trainer, seconds = train_run(config)
        run_folder = config.get_base_dir()
        run = open_run(run_folder)
        mesh, about_mesh = self.export(run)
        if isinstance(trainer, MappingTrainer):
            scores, about_scores = self.score_stream(trainer)
        else:
            scores, about_scores = self.score_views(trainer, run, mesh)
        stored, said = self.store(run)
        metrics = {
            "scene": str(self.scene),
            "method": method,
            "layer": config.pipeline.model.layer,  # type: ignore[attr-defined]
            "device": device_name(config.machine.device_type),
            "steps": trainer.steps_done if isinstance(trainer, MappingTrainer) else config.max_num_iterations,
            "seed": self.seed,
            "train_seconds": round(seconds, 2),
            "parameters": parameter_count(trainer),
            **mesh,
            **stored,
            "run": str(run_folder),
            **scores,
        }
        path = self.output / "metrics.json"
        with written_beside(path) as unfinished:
            unfinished.write_text(json.dumps(metrics, indent=1) + "\n", encoding="utf-8")
        picture = f"  picture  {scores['picture']}\n" if "picture" in scores else ""
        config_file = shlex.quote(str(run_folder / "config.yml"))
        print(
            f"\n{about_scores} after {metrics['steps']} steps in {seconds:.0f} s on {metrics['device']}"
            f"\n  metrics  {path}\n{picture}{about_mesh}{said}  run      {run_folder}"
            f"\nLook around in it:  ns-viewer --load-config {config_file}"
        )

    def find_poses(self) -> Path:
        """Finds where photos were taken from; the folder of the capture that they become."""
        from eugen_fields.data.photos.command import PhotoOptions, place_photos

        capture = self.output / "captures" / self.scene.resolve().name
        for name, value in place_photos(PhotoOptions(self.scene, capture, seed=self.seed)).items():
            print(f"{name:<9}  {value}", flush=True)
        return capture

    def export(self, run: Run) -> tuple[dict[str, Any], str]:
        """Writes the mesh of a run; what metrics.json has of it, and a line for people."""
        from eugen_fields.meshing.export_mesh import export_mesh

        try:
            facts = export_mesh(run, self.output / "mesh.ply", resolution=self.mesh_resolution)
        except InputError as error:  # after a few steps there may be no surface
            return {"mesh": None}, f"  mesh     none: {error.message}\n"
        found = {"mesh": str(facts["path"])} | {f"mesh_{name}": facts[name] for name in ("components", "watertight")}
        return found, f"  mesh     {facts['path']}\n"

    def score_views(self, trainer: FieldTrainer, run: Run, mesh: dict[str, Any]) -> tuple[dict[str, Any], str]:
        """Scores and a picture of the test views: what metrics.json has of them, and a line for people."""
        from eugen_fields.benchmark.common.picture import comparison_picture
        from eugen_fields.benchmark.mesh.mesh_scores import read_mesh, silhouette_overlaps
        from eugen_fields.benchmark.quality.train import score_run

        scores = score_run(trainer)
        picture = self.output / "comparison.png"
        comparison_picture(trainer, picture)
        overlaps = []
        if mesh["mesh"] is not None:
            in_scene = read_mesh(Path(mesh["mesh"])).apply_transform(
                run.world_from_scene.cpu().double().inverse().numpy()
            )
            overlaps = silhouette_overlaps(in_scene, trainer.pipeline.datamanager.fixed_indices_eval_dataloader)
        said = f"{len(scores['views'])} test views: PSNR {scores['psnr']:.2f} dB, SSIM {scores['ssim']:.4f}"
        return {
            "psnr": scores["psnr"],
            "ssim": scores["ssim"],
            "mesh_silhouette_iou": sum(overlaps) / len(overlaps) if overlaps else None,
            "picture": str(picture),
            "views": scores["views"],
        }, said

    def score_stream(self, trainer: MappingTrainer) -> tuple[dict[str, Any], str]:
        """What score_views is for images: errors of distances, and a picture of a slice, where the truth is there."""
        from eugen_fields.benchmark.distance.distance_truth import DISTANCES
        from eugen_fields.benchmark.distance.evaluation import Evaluation

        clock = trainer.pipeline.datamanager.clock
        scores: dict[str, Any] = {"frames": len(clock), "keyframes": len(clock.keyframes)}
        said = f"{len(clock)} frames, {len(clock.keyframes)} keyframes"
        if not (self.scene / DISTANCES).is_file():
            return scores, said
        evaluation = Evaluation(self.scene, checks=1, mesh_resolution=self.mesh_resolution)
        evaluation.learnt = trainer.pipeline.map.field.folded()
        errors = evaluation.errors(trainer.pipeline.map.field)
        picture = self.output / "slice.png"
        evaluation.draw_slice(picture)
        scores |= {f"{name}_error_cm": errors[f"{name}_cm"] for name in ("visible", "known", "surface")}
        return scores | {"picture": str(picture)}, f"{said}: distances are wrong by {errors['visible_cm']:.1f} cm"

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
