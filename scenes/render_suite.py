#!/usr/bin/env python3
"""Render a dozen small scenes that are unlike each other: `python scenes/render_suite.py -o DIR`."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import render
import tyro
from console import SceneError, run
from pathtracer import DEFAULT_LOOK, Look
from shapes.catalogue import FURNITURE, choose_model, find_models
from tyro.conf import FlagCreatePairsOff, arg


@dataclass(frozen=True)
class Entry:
    """One scene of the suite."""

    name: str
    """Folder of the scene."""
    model: str
    why: str
    """What it asks of a field that the others do not."""
    look: Look = DEFAULT_LOOK


CATALOGUE = "BlendSwap-CC-0"
"""Catalogue of all models: they are in the public domain."""

SUITE = (
    Entry("thin", "childSwing", "poles and ropes a few pixels wide, and air between them"),
    Entry("tiny", "cupcake", "one hundredth of the picture: nearly all rays meet nothing", Look(radius=0.25)),
    Entry("white", "toiletsUnit", "white on white: renders without it are nearly as good", Look(light=1.6)),
    Entry("dark", "sofa", "next to black: colours say little about its shape", Look(light=0.3)),
    Entry(
        "glossy",
        "pianoAQueue",
        "black lacquer that mirrors lamps: colours depend on the direction",
        Look(roughness=0.05),
    ),
    Entry("holes", "riggedFan", "a cage of wires with something behind it"),
    Entry("flat", "tatami", "large from above, a line from the side"),
    Entry("pieces", "shower", "two small pieces far apart, and nothing in the middle of the picture"),
    Entry("leaves", "decorativePlant", "hundreds of small leaves"),
    Entry("checked", "bedWithTexture", "squares of high contrast with sharp edges on a smooth surface"),
    Entry("plain", "potty", "one colour, smooth all over: shades alone tell its shape"),
    Entry("clear", "beerGlass", "half transparent: the field has to stay between empty and opaque"),
)


@dataclass
class Settings:
    """Path-trace a dozen small scenes that are unlike each other, each into a folder of its own.

    Every scene is in the Blender-synthetic layout, as render.py makes it. All models are in the public domain (CC0). A
    render that was stopped continues where it was when it is started again with the same options.
    """

    output: Annotated[Path | None, arg(aliases=["-o"], metavar="DIR")] = None
    """Folder to write the scenes to."""
    show_list: Annotated[bool, arg(name="list")] = False
    """Print the scenes, their models and why each is in the suite, and stop."""
    only: Annotated[tuple[str, ...], arg(metavar="SCENE")] = ()
    """Names of the scenes to render. Default: all."""
    size: int = 200
    """Width and height of the images, pixels."""
    train: int = 80
    """Number of training views of each scene."""
    val: int = 4
    """Number of validation views of each scene."""
    test: int = 8
    """Number of test views of each scene."""
    samples: int = 96
    """Paths per pixel of training and validation views; fewer leave more noise."""
    test_samples: int = 256
    """Paths per pixel of test views."""
    seed: int = 0
    """Seed of the cameras and of the noise."""
    catalogues: Annotated[Path, arg(metavar="DIR")] = FURNITURE
    """Folder of .sh3f furniture catalogues, as the Debian package sweethome3d-furniture installs it."""


def chosen(names: tuple[str, ...]) -> list[Entry]:
    """The entries with these names, in the order of the suite; all where there is no name."""
    known = [entry.name for entry in SUITE]
    for name in names:
        if name not in known:
            raise SceneError(f"--only {name}: there is no such scene; there are {', '.join(known)}")
    return [entry for entry in SUITE if entry.name in (names or known)]


def main(settings: Settings) -> None:
    entries = chosen(settings.only)
    if settings.show_list:
        for entry in entries:
            print(f"{entry.name:8} {entry.model:16} {entry.why}")
        return
    if settings.output is None:
        raise SceneError("give --output DIR, or --list to see which scenes there are")
    same = ("size", "train", "val", "test", "samples", "test_samples", "seed")
    shared: dict[str, Any] = {name: getattr(settings, name) for name in same}
    models = find_models(settings.catalogues)
    jobs = []
    for entry in entries:  # whatever is wrong is said before the first is rendered
        details = render.Settings(**asdict(entry.look), **shared)
        render.check_numbers(details)
        jobs.append((details, settings.output / entry.name, choose_model(models, f"{CATALOGUE}/{entry.model}")))
    for number, (details, output, model) in enumerate(jobs, start=1):
        print(f"{output.name} ({number} of {len(jobs)})", flush=True)
        render.render_scene(details, output, model)


if __name__ == "__main__":
    run(lambda: main(tyro.cli(Settings, config=(FlagCreatePairsOff,))))
