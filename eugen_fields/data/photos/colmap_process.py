"""Poses of photos by COLMAP: a program that another process starts, `python colmap_process.py JOB.json`.

pycolmap gets a process of its own: its libraries and Pillow's do not go together in one (Pillow's PNG writer frees
memory twice once pycolmap is loaded before it), it writes a log to stderr, and it ends its process where it finds
fault. So nothing else of this project is imported here. The job names the pictures, their cameras and the pairs to
match; what comes of it is written to `result.json` and `points.npz` beside the job, with progress as JSON lines on
stdout: `[what, done, total]`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pycolmap

_FEATURES_AT_A_TIME = 4
_PAIRS_AT_A_TIME = 40
_MAX_FEATURES = 4096
_FEWEST = 15
"""Points that two photos must have in common to count as matched (COLMAP's number)."""


def tell(what: str, done: int, total: int) -> None:
    """Reports progress to the process that waits."""
    print(json.dumps([what, min(done, total), total]), flush=True)


class Solver:
    """Feature points, matches and a reconstruction of one job."""

    def __init__(self, folder: Path, job: dict[str, Any]) -> None:
        self.folder = folder
        self.job = job
        self.names: list[str] = [image["name"] for image in job["images"]]
        self.pictures = folder / "pictures"
        self.database = folder / "features.db"
        pycolmap.set_random_seed(job["seed"])

    def extract(self) -> None:
        """Finds feature points that follow how a surface is tilted: they match in photos farther apart than plain ones,
        and take twice as long to find, which is little beside the matching."""
        extracting = pycolmap.FeatureExtractionOptions()
        extracting.use_gpu, extracting.num_threads = False, self.job["threads"]
        extracting.sift.max_num_features = _MAX_FEATURES
        extracting.sift.estimate_affine_shape = True
        done = 0
        for index, camera in enumerate(self.job["cameras"]):
            taken_by_it = [image["name"] for image in self.job["images"] if image["camera"] == index]
            reading = pycolmap.ImageReaderOptions()
            reading.camera_model = "SIMPLE_RADIAL"
            for start in range(0, len(taken_by_it), _FEATURES_AT_A_TIME):
                tell("Finding features", done, len(self.names))
                some = taken_by_it[start : start + _FEATURES_AT_A_TIME]
                if start:
                    with pycolmap.Database.open(self.database) as database:
                        first = database.read_image_with_name(taken_by_it[0])
                        assert first is not None, "its features were found in the round before"
                        reading.existing_camera_id = first.camera_id
                else:
                    reading.camera_params = ", ".join(map(str, camera["parameters"]))
                pycolmap.extract_features(
                    self.database, self.pictures, some, pycolmap.CameraMode.SINGLE, reading, extracting
                )
                done += len(some)
        tell("Finding features", done, len(self.names))

    def match(self) -> int:
        """Matches the feature points of the pairs; the number of pairs that have enough in common."""
        pairs: list[list[int]] = self.job["pairs"]
        matching = pycolmap.FeatureMatchingOptions()
        matching.use_gpu, matching.num_threads = False, self.job["threads"]
        verifying = pycolmap.TwoViewGeometryOptions()
        verifying.min_num_inliers, verifying.ransac.random_seed = _FEWEST, self.job["seed"]
        listed = pycolmap.ImportedPairingOptions()
        listed.match_list_path = self.folder / "pairs.txt"
        for start in range(0, len(pairs), _PAIRS_AT_A_TIME):
            tell("Matching", start, len(pairs))
            some = pairs[start : start + _PAIRS_AT_A_TIME]
            text = "".join(f"{self.names[first]} {self.names[second]}\n" for first, second in some)
            Path(listed.match_list_path).write_text(text, encoding="utf-8")
            pycolmap.match_image_pairs(self.database, matching, listed, verifying)
        tell("Matching", len(pairs), len(pairs))
        with pycolmap.Database.open(self.database) as database:
            inliers = database.read_two_view_geometry_num_inliers()[1]
        return sum(count >= _FEWEST for count in inliers)

    def map(self) -> pycolmap.Reconstruction | None:
        """The largest reconstruction; None where there is none."""
        options = pycolmap.IncrementalPipelineOptions()
        options.num_threads, options.random_seed = self.job["threads"], self.job["seed"]
        options.extract_colors = True
        options.min_model_size = 3
        output = self.folder / "models"
        output.mkdir()
        placed = 0

        def first_pair() -> None:
            nonlocal placed
            placed = 2
            tell("Placing photos", placed, len(self.names))

        def next_photo() -> None:
            nonlocal placed
            placed += 1
            tell("Placing photos", placed, len(self.names))

        found = pycolmap.incremental_mapping(
            self.database,
            self.pictures,
            output,
            options,
            initial_image_pair_callback=first_pair,
            next_image_callback=next_photo,
        )
        largest: pycolmap.Reconstruction | None = None
        for model in found.values():
            if largest is None or model.num_reg_images() > largest.num_reg_images():
                largest = model
        return largest


def refine(model: pycolmap.Reconstruction, threads: int) -> None:
    """Gives every camera the lens model OPENCV and adjusts everything to it."""
    for camera in model.cameras.values():
        focal, x, y, radial = camera.params
        camera.model = pycolmap.CameraModelId.OPENCV
        camera.params = [focal, focal, x, y, radial, 0.0, 0.0, 0.0]
    options = pycolmap.BundleAdjustmentOptions()
    options.print_summary = False
    options.ceres.solver_options.num_threads = threads
    pycolmap.bundle_adjustment(model, options)


def believable(model: pycolmap.Reconstruction) -> bool:
    """Whether the lenses of a refined reconstruction are such as there are."""
    for camera in model.cameras.values():
        across, down, _, _, *distortion = camera.params
        if not (0.9 < across / down < 1.1 and max(map(abs, distortion)) < 1.0):
            return False
    return True


def written(model: pycolmap.Reconstruction, folder: Path) -> dict[str, Any]:
    """Cameras and poses of a reconstruction, for JSON; its points go to points.npz."""
    points = list(model.points3D.values())
    np.savez(
        folder / "points.npz",
        places=np.array([point.xyz for point in points]).reshape(-1, 3),
        colors=np.array([point.color for point in points], dtype=np.uint8).reshape(-1, 3),
    )
    images = [image for image in model.images.values() if image.has_pose]
    return {
        "images": {
            image.name: {
                "camera_from_world": image.cam_from_world().matrix().tolist(),
                "camera": image.camera_id,
            }
            for image in images
        },
        "cameras": {
            str(index): {"model": camera.model.name, "parameters": list(camera.params)}
            for index, camera in model.cameras.items()
        },
        "error": model.compute_mean_reprojection_error(),
    }


def solve(folder: Path, job: dict[str, Any]) -> dict[str, Any]:
    """All of it."""
    solver = Solver(folder, job)
    solver.extract()
    matched = solver.match()
    facts = {"pairs": len(job["pairs"]), "matched": matched}
    model = solver.map() if matched else None
    if model is None:
        return facts
    refined = pycolmap.Reconstruction(model)
    refine(refined, job["threads"])
    return facts | written(refined if believable(refined) else model, folder)


def main() -> None:
    """Entry point: the job is the one argument."""
    path = Path(sys.argv[1])
    pycolmap.logging.minloglevel = pycolmap.logging.Level.ERROR.value
    result = solve(path.parent, json.loads(path.read_text(encoding="utf-8")))
    unfinished = path.with_name("result.unfinished")
    unfinished.write_text(json.dumps(result), encoding="utf-8")
    unfinished.rename(path.with_name("result.json"))


if __name__ == "__main__":
    main()
