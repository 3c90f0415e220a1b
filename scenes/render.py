#!/usr/bin/env python3
"""Render a furniture model into a scene, alone or outdoors: `python scenes/render.py hotDog -o DIR`."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from capture import cameras, layout
from capture.distortion import Camera, Lens
from console import SceneError, reporting, run
from downscale import area_mean
from pathtracer import BOUND, Look, build_scene, load_mitsuba, model_mesh, photograph
from shapes.catalogue import FURNITURE, Model, choose_model, find_models
from tqdm import tqdm
from tyro.conf import FlagCreatePairsOff, Positional, arg

OUTDOOR_LENS = Lens(k1=-0.12, k2=0.03, p1=0.001, p2=-0.0015)
"""Barrel distortion that bends the straight joints of the paving visibly, as of a cheap wide-angle camera."""
OUTDOOR_FOCAL = 0.8
"""Focal length over image width: about 64 degrees across."""
_LATER = {"unbounded": False, "radius": BOUND, "roughness": None, "light": 1.0}
"""Settings that older notes in render.json do not have, and what they were."""


@dataclass
class Settings:
    """Path-trace a furniture model of Sweet Home 3D into a scene: posed pictures of it, alone or outdoors.

    Without --unbounded the scene is transforms_{train,val,test}.json and RGBA PNGs, the Blender-synthetic layout. The
    model lies inside a sphere of radius 1.2 (--radius) about the origin, z up. Training and validation cameras are
    drawn evenly over the upper hemisphere, test cameras lie on a circle at 30 degrees; all are 4.03 from the origin and
    look at it.

    With --unbounded it becomes nerfstudio's transforms.json and JPEGs without alpha. The model, of the same size,
    stands over the origin on a ground that reaches to the horizon. Cameras of every split lie around it at distances of
    2.2 to 5, with the lens distortion that the file gives (OPENCV: k1, k2, p1, p2).

    With --scales there are smaller views (area means) too, in folders train_2, train_4 and so on, and a transforms.json
    (nerfstudio) that lists all of them with their intrinsics and splits.

    A render that was stopped continues where it was when it is started again with the same options. A finished scene
    can be given more --scales in this way.
    """

    model: Annotated[Positional[str | None], arg(metavar="MODEL")] = None
    """Name of the model, such as hotDog, or CATALOGUE/NAME where several have that name. See --list."""
    output: Annotated[Path | None, arg(aliases=["-o"], metavar="DIR")] = None
    """Folder to write the scene to."""
    show_list: Annotated[bool, arg(name="list")] = False
    """Print the available models with their catalogues and licences, and stop."""
    unbounded: bool = False
    """Place the model on a ground of radius 50, in view of the --hdri panorama or else of a made-up landscape."""
    size: int = 400
    """Width of the images, pixels. Images are square; with --unbounded the height is three quarters of the width."""
    scales: int = 1
    """Number of resolutions: 4 adds every view at 1/2, 1/4 and 1/8 of its size, and a transforms.json of all views."""
    train: int = 100
    """Number of training views."""
    val: int = 4
    """Number of validation views."""
    test: int = 20
    """Number of test views."""
    samples: int = 96
    """Paths per pixel of training and validation views; fewer leave more noise. --unbounded rounds up to 16, 32, ..."""
    test_samples: int = 512
    """Paths per pixel of test views."""
    hdri: Annotated[Path | None, arg(metavar="FILE")] = None
    """Panorama (.exr or .hdr) that lights the model. Without it: two soft lamps, or with --unbounded a landscape."""
    radius: float = BOUND
    """Radius of the sphere that holds the model; cameras stay where they are. 0.2 leaves it tiny in the picture."""
    roughness: float | None = None
    """Roughness of all surfaces (GGX): 0.05 mirrors the lamps, 0.8 is dull. Default: as the model's materials say."""
    light: float = 1.0
    """Factor of all light: 0.3 is dim, and at 1.6 what is white is nearly as bright as pixels can be."""
    seed: int = 0
    """Seed of the cameras and of the noise."""
    catalogues: Annotated[Path, arg(metavar="DIR")] = FURNITURE
    """Folder of .sh3f furniture catalogues, as the Debian package sweethome3d-furniture installs it."""


def camera(settings: Settings) -> Camera:
    """The camera that takes every view."""
    if settings.unbounded:
        return Camera(settings.size, settings.size * 3 // 4, OUTDOOR_FOCAL * settings.size, OUTDOOR_LENS)
    return Camera(settings.size, settings.size, settings.size / 2 / np.tan(layout.CAMERA_ANGLE_X / 2))


def poses(settings: Settings, lift: float = 0.0) -> dict[str, np.ndarray]:
    """(views, 4, 4) camera-to-world per split; an unbounded scene has the middle of its model at (0, 0, lift)."""
    train, val, test = (np.random.default_rng([settings.seed, number]) for number in range(3))
    if settings.unbounded:
        middle = np.array([0.0, 0.0, lift])
        return {
            "train": cameras.roaming(settings.train, train, middle),
            "val": cameras.roaming(settings.val, val, middle),
            "test": cameras.roaming(settings.test, test, middle),
        }
    return {
        "train": cameras.hemisphere(settings.train, train),
        "val": cameras.hemisphere(settings.val, val),
        "test": cameras.orbit(settings.test),
    }


def check_numbers(settings: Settings) -> None:
    """Refuse settings that no scene could be made of."""
    least = {"size": 1, "scales": 1, "train": 1, "val": 0, "test": 0, "samples": 1, "test_samples": 1, "seed": 0}
    for name, bound in least.items():
        if getattr(settings, name) < bound:
            raise SceneError(f"--{name.replace('_', '-')} {getattr(settings, name)}: must be {bound} or more")
    if not 0 < settings.radius <= BOUND:
        raise SceneError(f"--radius {settings.radius:g}: must be more than 0, and {BOUND:g} at most")
    if not settings.light > 0:
        raise SceneError(f"--light {settings.light:g}: must be more than 0")
    if settings.roughness is not None and not 0.01 <= settings.roughness <= 1:
        raise SceneError(f"--roughness {settings.roughness:g}: must be from 0.01 to 1")
    if settings.unbounded and settings.size % 4:
        raise SceneError(f"--size {settings.size}: with --unbounded the height is 3/4 of it; give a multiple of 4")
    width, height = camera(settings).width, camera(settings).height
    power_of_two = (width | height) & -(width | height)  # the largest that divides both
    most = power_of_two.bit_length()
    if settings.scales > most:
        raise SceneError(
            f"--scales {settings.scales}: {width}x{height} can be halved into whole pixels {most - 1} times;"
            f" give --scales {most} at most, or another --size"
        )
    if settings.hdri is not None and not settings.hdri.is_file():
        raise SceneError(f"--hdri {settings.hdri} is not a file; give an .exr or .hdr panorama")


def claim(output: Path, settings: Settings, model: Model) -> None:
    """Note in OUTPUT/render.json what is rendered there; refuse a folder begun with other options."""
    note: dict[str, object] = {"model": model.qualified_name, "creator": model.creator, "license": model.license}
    note |= {key: getattr(settings, key) for key in ("size", "train", "val", "test", "samples", "test_samples", "seed")}
    note["hdri"] = settings.hdri and settings.hdri.name
    note |= {key: getattr(settings, key) for key in _LATER}
    path = output / "render.json"
    with reporting("cannot use --output", output):
        output.mkdir(parents=True, exist_ok=True)
        before = path.read_text() if path.exists() else None
    if before is None:
        names = (layout.NERFSTUDIO, *(layout.transforms_path(output, split).name for split in layout.SPLITS))
        if any((output / name).exists() for name in names):
            raise SceneError(f"{output} already holds a scene that this command did not make; give another --output")
        layout.write_json(path, note)
        return
    try:
        known = {**_LATER, **json.loads(before)}
        changed = [key for key in note if known.get(key) != note[key]]
    except (ValueError, TypeError) as error:
        raise SceneError(f"{path} is damaged ({error}); delete {output} or give another --output") from error
    if changed:
        differences = ", ".join(f"{key} was {known.get(key)!r}, now {note[key]!r}" for key in changed)
        raise SceneError(f"{output} was begun with other options ({differences}); repeat those or change --output")


def render_scene(settings: Settings, output: Path, model: Model) -> None:
    """Render what is missing of every split; transforms are written once the images they name are all there."""
    mitsuba = load_mitsuba()
    look = Look(settings.radius, settings.roughness, settings.light)
    scene, lift = build_scene(mitsuba, model, settings.hdri, settings.unbounded, look)
    claim(output, settings, model)
    views, through = poses(settings, lift), camera(settings)
    vertices, triangles = model_mesh(model, lift, look.radius)
    mesh = {"vertices": vertices.astype(np.float32), "triangles": triangles.astype(np.uint32)}
    layout.write_arrays(output / layout.MESH, **mesh)
    suffix, write = (".jpg", layout.write_rgb) if settings.unbounded else (".png", layout.write_rgba)
    factors = [2**scale for scale in range(settings.scales)]

    def path(split: str, number: int, factor: int = 1) -> Path:
        return output / (layout.frame_name(split, number, factor) + suffix)

    names = [(split, number) for split in views for number in range(len(views[split]))]
    done = sum(path(*name).exists() for name in names)
    with tqdm(total=len(names), initial=done, unit="view", desc=model.name) as progress:
        for split in views:
            for number, pose in enumerate(views[split]):
                if not path(split, number).exists():
                    samples = settings.test_samples if split == "test" else settings.samples
                    seed = (settings.seed, layout.SPLITS.index(split), number)
                    write(path(split, number), photograph(mitsuba, scene, through, pose, samples, seed))
                    progress.update()
                for factor in factors:
                    if not path(split, number, factor).exists():
                        write(path(split, number, factor), area_mean(layout.read_rgba(path(split, number)), factor))
            if len(views[split]) and not settings.unbounded:
                layout.write_json(layout.transforms_path(output, split), layout.blender_transforms(split, views[split]))
    if settings.unbounded or settings.scales > 1:
        layout.write_json(output / layout.NERFSTUDIO, layout.nerfstudio_transforms(views, through, suffix, factors))
    print(f"{output}: {len(names)} views of {model.title} by {model.creator}. Licence of the model: {model.license}")


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
