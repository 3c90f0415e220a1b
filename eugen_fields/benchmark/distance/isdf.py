"""`eugen-bench isdf`: signed distance from a depth stream, against the truth and against TSDF fusion."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from eugen_fields.benchmark.common.contestants import parse_options
from eugen_fields.benchmark.common.devices import choose_device
from eugen_fields.benchmark.common.results import find_run, load_results, save_results
from eugen_fields.errors import InputError
from eugen_fields.layers.names import LayerName

if TYPE_CHECKING:
    from eugen_fields.benchmark.distance.distance_truth import DistanceTruth
    from eugen_fields.data.depth_streams import DepthStream
    from eugen_fields.fields.sdf import SDFField
    from eugen_fields.mapping.trainer import MappingTrainer
    from eugen_fields.training.trainer import FieldTrainer


@dataclass
class ISDF:
    """Maps a depth stream with layer kinds and seeds, and measures distances, gradients and the mesh against the truth.

    The folder needs distance_ground_truth.npz (points (N, 3), distance (N,), metres) and mesh_ground_truth.npz
    (vertices, triangles) beside the recording."""

    data: Path = Path("scenes/room")
    """Folder of the recording."""
    method: Literal["eugen-isdf-tiny", "eugen-isdf", "prp-isdf"] = "eugen-isdf-tiny"
    """Method whose network, budget and clock all runs share."""
    layer: tuple[LayerName, ...] = ("eugen",)
    """Layer kinds to compare."""
    seed: tuple[int, ...] = (0,)
    """Seeds of the runs of each kind."""
    options: tuple[str, ...] = ()
    """Flags of the model for all runs, as name=value: layer_width=64 replace=2,4."""
    clock: Literal["steps", "wall", "offline"] = "steps"
    """When the next frame comes, as in ns-train."""
    steps: int | None = None
    """Training steps of each run. Default: as many as the stream takes, the same for all."""
    checks: int = 10
    """Times along the stream at which the errors are measured."""
    voxel_size: float = 0.02
    """Of the TSDF fusion, metres."""
    mesh_resolution: int = 128
    """Cells of the mesh along the longest side of what was seen."""
    plots: bool = True
    """Draw the errors, a slice and the meshes beside the JSON file."""
    device: str | None = None
    """cpu or cuda. Default: CUDA if there is one."""
    output: Path = Path("outputs/benchmark")
    """Where the runs are written."""
    json: Path = Path("outputs/benchmark/isdf.json")
    """Results, of several calls if they name the same file; runs that are already in it are not run again."""

    def main(self) -> None:
        """Runs what is missing in the JSON file, prints the table and draws the plots."""
        print(self.report())

    def report(self) -> str:
        """Runs, draws, and returns the table."""
        from eugen_fields.benchmark.distance.distance_truth import DistanceTruth
        from eugen_fields.benchmark.distance.sdf_report import markdown_table
        from eugen_fields.data.depth_reading import read_depth_stream

        parse_options(self.options)  # bad ones are refused before anything is trained
        if self.checks < 1:
            raise InputError(f"--checks {self.checks}: it must be at least 1.")
        choose_device(self.device)
        truth, stream = DistanceTruth.load(self.data), read_depth_stream(self.data)
        document = load_results(self.json)
        evaluation = _Evaluation(stream, truth, self.checks, self.mesh_resolution)
        baseline = {"name": "TSDF", "data": str(self.data), "voxel_size": self.voxel_size, "checks": self.checks}
        fusion = None
        if find_run(document, baseline) is None:
            print(f"TSDF fusion, voxels of {100 * self.voxel_size:g} cm", flush=True)
            facts, fusion = evaluation.fuse(self.voxel_size)
            document["runs"].append(baseline | facts)
            save_results(document, self.json)
        tsdf = find_run(document, baseline)
        assert tsdf is not None
        last: SDFField | None = None
        for layer in self.layer:
            for seed in self.seed:
                key = {"method": self.method, "layer": layer, "seed": seed, "options": list(self.options)}
                key |= {"asked_steps": self.steps, "clock": self.clock, "data": str(self.data)}
                if find_run(document, key) is not None:
                    continue
                name = " ".join((self.method, layer, *self.options))
                print(f"{name}, seed {seed}", flush=True)
                facts, last = self._run(layer, seed, evaluation)
                document["runs"].append(key | {"name": name, "tsdf_visible_error_cm": tsdf["visible_error_cm"]} | facts)
                save_results(document, self.json)
        self._summarise(document)
        lines = [markdown_table(document["runs"]), ""]
        if self.plots:
            lines += [f"drawn {path}" for path in evaluation.draw(document["runs"], last, fusion, self.json)]
        return "\n".join([*lines, f"written to {self.json}"])

    def _summarise(self, document: dict[str, Any]) -> None:
        """Puts the figures of the last run that was asked for at the top of the file."""
        asked = [run for run in document["runs"] if run.get("layer") == self.layer[-1]]
        if asked:
            names = ("visible_error_cm", "surface_error_cm", "tsdf_visible_error_cm", "seconds", "steps", "parameters")
            document |= {name: asked[-1][name] for name in names}
            save_results(document, self.json)

    def _run(self, layer: str, seed: int, evaluation: _Evaluation) -> tuple[dict[str, Any], SDFField]:
        from eugen_fields.benchmark.quality.train import make_config, parameter_count, train_run

        options = parse_options(self.options)
        config = make_config(
            self.method, self.data, self.output, layer=layer, steps=self.steps, seed=seed, model_options=options
        )
        config.pipeline.datamanager.clock = self.clock  # type: ignore[attr-defined]
        if self.device is not None:
            config.machine.device_type = "cuda" if self.device.startswith("cuda") else "cpu"
        watcher = _Watcher(evaluation)
        trainer, seconds = train_run(config, started=watcher.start)
        model: Any = trainer.pipeline.model
        clock = watcher.trainer.pipeline.datamanager.clock
        errors, field = evaluation.errors(model.field), model.field.folded()
        facts = {
            "visible_error_cm": errors["visible_cm"],
            "known_error_cm": errors["known_cm"],
            "surface_error_cm": errors["surface_cm"],
            "seconds": seconds - watcher.seconds,
            "steps": watcher.trainer.steps_done,
            "parameters": parameter_count(trainer),
            "multiplications": field.trunk.multiplications(),
            "learning_rate": config.optimizers["fields"]["optimizer"].lr,
            "frames": len(clock),
            "keyframes": len(clock.keyframes),
            "skipped_frames": clock.skipped,
            "device": str(model.device),
            "errors": errors,
            "eikonal_residual": evaluation.eikonal_residual(model.field),
            "mesh": evaluation.mesh_errors(model),
            "over_time": watcher.over_time,
        }
        return facts, field


class _Watcher:
    """Measures a map while its stream goes by; `seconds` is the time that this took."""

    trainer: MappingTrainer

    def __init__(self, evaluation: _Evaluation) -> None:
        self.evaluation = evaluation
        self.over_time: list[dict[str, Any]] = []
        self.seconds = 0.0

    def start(self, trainer: FieldTrainer) -> None:
        from eugen_fields.mapping.trainer import MappingTrainer

        assert isinstance(trainer, MappingTrainer)
        self.trainer = trainer
        clock = trainer.pipeline.datamanager.clock
        if clock.mode != "offline":
            trainer.pipeline.frame_listeners.append(self._frame_done)
        wall = clock.now
        clock.now = lambda: wall() - self.seconds  # the stream waits while it is measured

    def _frame_done(self, frame: int) -> None:
        due = self.evaluation.due(frame, self.over_time)
        if due:
            start = time.perf_counter()
            field = self.trainer.pipeline.map.field.folded()
            self.over_time.append(self.evaluation.at_frame(field.evaluate, frame))
            self.seconds += time.perf_counter() - start


class _Evaluation:
    """What runs on one stream are measured by."""

    def __init__(self, stream: DepthStream, truth: DistanceTruth, checks: int, mesh_resolution: int) -> None:
        from eugen_fields.benchmark.distance.visibility import first_seen, nearest_first_seen

        self.stream, self.truth, self.mesh_resolution = stream, truth, mesh_resolution
        self.seen = first_seen(stream, truth.points)
        self.nearest = nearest_first_seen(stream, truth)
        self.every = max(1, math.ceil(len(stream) / checks))
        self.meshes: dict[str, Any] = {}

    def due(self, frame: int, so_far: list[dict[str, Any]]) -> bool:
        """Whether another part of the stream is over with a frame; some may have been skipped since the last one."""
        over = max((entry["frame"] + 1 for entry in so_far), default=0) // self.every
        return frame == len(self.stream) - 1 or (frame + 1) // self.every > over

    def at_frame(self, sdf: Any, frame: int) -> dict[str, Any]:
        """Errors where the frames up to one have looked, and where they saw the nearest surface too."""
        import torch

        from eugen_fields.benchmark.distance.sdf_errors import visible_error_cm

        seen = self.seen <= frame
        known = torch.maximum(self.seen, self.nearest) <= frame
        visible, near = (visible_error_cm(sdf, self.truth.part(part)) for part in (seen, known))
        return {"frame": frame, "visible_cm": visible, "known_cm": near}

    def errors(self, field: SDFField) -> dict[str, Any]:
        from eugen_fields.benchmark.distance.sdf_errors import sdf_errors

        device, folded = field.aabb.device, field.folded()
        return sdf_errors(
            lambda points: folded.evaluate(points.to(device)),
            self.truth,
            lambda points: field.sdf_and_gradient(points.to(device)),
            known=self.nearest < len(self.stream),
        )

    def eikonal_residual(self, field: SDFField) -> float:
        """Mean | |grad f| - 1 | at the true points 10 cm and more from surfaces."""
        import torch

        points = self.truth.points[self.truth.distances >= 0.1].to(field.aabb)
        lengths = [field.sdf_and_gradient(chunk)[1].detach().norm(dim=-1) for chunk in points.split(1 << 14)]
        return float((torch.cat(lengths) - 1.0).abs().mean())

    def mesh_errors(self, model: Any) -> dict[str, Any]:
        from eugen_fields.benchmark.mesh.mesh_errors import mesh_errors
        from eugen_fields.meshing.distance import distance_mesh

        vertices, faces = distance_mesh(model.field.folded(), self.mesh_resolution, seen=model.seen, progress=False)
        self.meshes[model.config.layer] = vertices, faces
        return mesh_errors(vertices, faces, self.truth, self.stream)

    def fuse(self, voxel_size: float) -> tuple[dict[str, Any], Any]:
        """TSDF fusion of the same frames, measured in the same way; `seconds` has one distance transform in it."""
        from tqdm import tqdm

        from eugen_fields.benchmark.distance.sdf_errors import sdf_errors
        from eugen_fields.benchmark.distance.tsdf import TSDF
        from eugen_fields.benchmark.mesh.mesh_errors import mesh_errors

        fusion, over_time = TSDF(voxel_size), []
        for frame in tqdm(self.stream, desc="Fusing", unit="frame"):
            fusion.integrate(frame)
            if self.due(frame.index, over_time):
                over_time.append(self.at_frame(fusion.sdf, frame.index))
        known = self.nearest < len(self.stream)
        transform_seconds = fusion.distance_seconds / max(1, len(over_time))
        errors = sdf_errors(fusion.sdf, self.truth, fusion.sdf_and_gradient, known=known)
        exact = fusion.exact()
        facts = {
            "visible_error_cm": errors["visible_cm"],
            "known_error_cm": errors["known_cm"],
            "surface_error_cm": errors["surface_cm"],
            "seconds": fusion.integrate_seconds + transform_seconds,
            "errors": errors,
            "exact_errors": sdf_errors(exact.sdf, self.truth, exact.sdf_and_gradient, known=known),
            "mesh": mesh_errors(*fusion.mesh(), self.truth, self.stream),
            "over_time": over_time,
        }
        self.meshes["TSDF"] = fusion.mesh()
        return facts, fusion

    def draw(self, runs: list[dict[str, Any]], field: SDFField | None, fusion: Any, json: Path) -> list[Path]:
        """Plots beside the JSON file; slices and meshes of what this call has run."""
        from eugen_fields.benchmark.distance.sdf_report import draw_errors
        from eugen_fields.benchmark.distance.slice_picture import draw_slices
        from eugen_fields.benchmark.mesh.mesh_picture import draw_meshes

        paths = [json.with_name(f"{json.stem}_errors.png")]
        draw_errors(runs, paths[0])
        if field is not None:
            fields: dict[str, Any] = {"learnt": lambda points: field.evaluate(points.to(field.aabb))}
            if fusion is not None:
                fields["TSDF"] = fusion.sdf
            paths.append(json.with_name(f"{json.stem}_slice.png"))
            low, high = self.truth.vertices[:, 2].min(), self.truth.vertices[:, 2].max()
            draw_slices(fields, self.truth, self.stream, paths[-1], height=float(low + 0.4 * (high - low)))
        if self.meshes:
            paths.append(json.with_name(f"{json.stem}_mesh.png"))
            draw_meshes({"truth": (self.truth.vertices, self.truth.triangles)} | self.meshes, self.stream, paths[-1])
        return paths
