#!/usr/bin/env python3
"""Render a furniture model into a scene in the Blender-synthetic layout: `python scenes/render.py hotDog -o DIR`."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import cameras
import layout
import numpy as np
import tyro
from catalogue import FURNITURE, Model, choose_model, find_models
from console import SceneError, reporting, run
from pathtracer import build_scene, load_mitsuba, render
from tqdm import tqdm
from tyro.conf import FlagCreatePairsOff, Positional, arg


@dataclass
class Settings:
    """Path-trace a furniture model of Sweet Home 3D into transforms_{train,val,test}.json and RGBA PNGs.

    The model lies inside a sphere of radius 1.2 about the origin, z up. Training and validation cameras are drawn
    evenly over the upper hemisphere, test cameras go round a circle at 30 degrees; all are 4.03 from the origin and
    look at it. A run that was stopped goes on where it was when it is started again with the same options.
    """

    model: Annotated[Positional[str | None], arg(metavar="MODEL")] = None
    """Name of the model, such as hotDog, or CATALOGUE/NAME where several have that name. See --list."""
    output: Annotated[Path | None, arg(aliases=["-o"], metavar="DIR")] = None
    """Folder to write the scene to."""
    show_list: Annotated[bool, arg(name="list")] = False
    """Print the models that are there, with their catalogues and licences, and stop."""
    size: int = 400
    """Width and height of the images, pixels."""
    train: int = 100
    """Number of training views."""
    val: int = 4
    """Number of validation views."""
    test: int = 20
    """Number of test views."""
    samples: int = 96
    """Paths a pixel for training and validation views; fewer leave more grain."""
    test_samples: int = 512
    """Paths a pixel for test views."""
    hdri: Annotated[Path | None, arg(metavar="FILE")] = None
    """Panorama (.exr or .hdr) to light the model with. Without one: a made-up sky with two soft lamps."""
    seed: int = 0
    """Seed of the cameras and of the grain."""
    catalogues: Annotated[Path, arg(metavar="DIR")] = FURNITURE
    """Folder of .sh3f furniture catalogues, as the Debian package sweethome3d-furniture installs it."""


def poses(settings: Settings) -> dict[str, np.ndarray]:
    """(views, 4, 4) camera-to-world per split."""
    train, val = (np.random.default_rng([settings.seed, number]) for number in (0, 1))
    return {
        "train": cameras.hemisphere(settings.train, train),
        "val": cameras.hemisphere(settings.val, val),
        "test": cameras.orbit(settings.test),
    }


def transforms(split: str, views: np.ndarray) -> dict:
    """The content of one transforms file."""
    frames = [
        {"file_path": f"./{split}/r_{number}", "rotation": 0.0, "transform_matrix": pose.tolist()}
        for number, pose in enumerate(views)
    ]
    return {"camera_angle_x": layout.CAMERA_ANGLE_X, "frames": frames}


def check_numbers(settings: Settings) -> None:
    """Refuse settings that no scene could be made of."""
    least = {"size": 1, "train": 1, "val": 0, "test": 0, "samples": 1, "test_samples": 1, "seed": 0}
    for name, bound in least.items():
        if getattr(settings, name) < bound:
            raise SceneError(f"--{name.replace('_', '-')} {getattr(settings, name)}: must be {bound} or more")
    if settings.hdri is not None and not settings.hdri.is_file():
        raise SceneError(f"--hdri {settings.hdri} is not a file; give an .exr or .hdr panorama")


def claim(output: Path, settings: Settings, model: Model) -> None:
    """Note in OUTPUT/render.json what is rendered there; refuse a folder begun with other options."""
    note: dict[str, object] = {"model": model.qualified_name, "creator": model.creator, "license": model.license}
    note |= {key: getattr(settings, key) for key in ("size", "train", "val", "test", "samples", "test_samples", "seed")}
    note["hdri"] = settings.hdri and settings.hdri.name
    path = output / "render.json"
    with reporting("cannot use --output", output):
        output.mkdir(parents=True, exist_ok=True)
        before = path.read_text() if path.exists() else None
    if before is None:
        if any(layout.transforms_path(output, split).exists() for split in layout.SPLITS):
            raise SceneError(f"{output} already holds a scene that this command did not make; give another --output")
        layout.write_json(path, note)
        return
    try:
        known = json.loads(before)
        changed = [key for key in note if known.get(key) != note[key]]
    except (ValueError, AttributeError) as error:
        raise SceneError(f"{path} is damaged ({error}); delete {output} or give another --output") from error
    if changed:
        differences = ", ".join(f"{key} was {known.get(key)!r}, now {note[key]!r}" for key in changed)
        raise SceneError(f"{output} was begun with other options ({differences}); repeat those or change --output")


def render_scene(settings: Settings, output: Path, model: Model) -> None:
    """Render what is missing of every split; a split's transforms are written once its images are all there."""
    mitsuba = load_mitsuba()
    scene = build_scene(mitsuba, model, settings.hdri)
    claim(output, settings, model)
    splits = {split: transforms(split, views) for split, views in poses(settings).items()}
    frames = [frame for content in splits.values() for frame in content["frames"]]
    done = sum(layout.image_path(output, frame).exists() for frame in frames)
    with tqdm(total=len(frames), initial=done, unit="view", desc=model.name) as progress:
        for split, content in splits.items():
            for number, frame in enumerate(content["frames"]):
                path = layout.image_path(output, frame)
                if path.exists():
                    continue
                image = render(
                    mitsuba,
                    scene,
                    pose=np.array(frame["transform_matrix"]),
                    angle_x=content["camera_angle_x"],
                    size=settings.size,
                    samples=settings.test_samples if split == "test" else settings.samples,
                    seed=(settings.seed, layout.SPLITS.index(split), number),
                )
                layout.write_rgba(path, image)
                progress.update()
            if content["frames"]:
                layout.write_json(layout.transforms_path(output, split), content)
    print(f"{output}: {len(frames)} views of {model.title} by {model.creator}. Licence of the model: {model.license}")


def main(settings: Settings) -> None:
    check_numbers(settings)
    models = find_models(settings.catalogues)
    if settings.show_list:
        width = max(len(model.qualified_name) for model in models)
        for model in models:
            print(f"{model.qualified_name:{width}}  {model.title} ({model.license})")
        return
    if settings.model is None or settings.output is None:
        raise SceneError("give the name of a MODEL and --output DIR, or --list to see which models there are")
    render_scene(settings, settings.output, choose_model(models, settings.model))


if __name__ == "__main__":
    run(lambda: main(tyro.cli(Settings, config=(FlagCreatePairsOff,))))
