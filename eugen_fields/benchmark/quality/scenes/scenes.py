"""`eugen-bench scenes`: methods and layer kinds on many small scenes, and the runs that collapse."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import tyro

from eugen_fields.benchmark.common import Case, Results, SweptBenchmark
from eugen_fields.benchmark.quality.comparison import RadianceMethod
from eugen_fields.benchmark.quality.scenes.scenes_report import draw, markdown_table
from eugen_fields.data.parsers.choose import set_up_parser
from eugen_fields.errors import InputError

if TYPE_CHECKING:
    from eugen_fields.benchmark.quality.trial import Trial

_MARKS = ("transforms_train.json", "transforms.json")
"""Files by which a folder is a scene."""
_NEEDED = ("scene", "width", "method", "layer", "options", "seed", "trained_steps", "train_seconds")
_NEEDED += ("psnr", "ssim", "empty_psnr", "collapsed", "recoveries")
"""What the table and the plot need of a run."""


@dataclass(kw_only=True)
class Scenes(SweptBenchmark):
    """Trains methods and layer kinds on each of many small scenes and compares PSNR and SSIM on their test views.

    A run has collapsed where its renders are less than 1 dB better than the background alone, where what the test
    images show has an accumulated opacity below 0.1, or where the background around it has one above 0.5 (fog).
    `scenes/render_suite.py` renders a dozen scenes that are unlike each other."""

    scene: tuple[Path, ...] = (Path("scenes/hard"),)
    """Folders of scenes; each is a scene itself, or holds some."""
    method: tuple[RadianceMethod, ...] = ("eugen-nerf-tiny",)
    """Methods to train."""
    layers: Annotated[tuple[str, ...], tyro.conf.arg(aliases=["--layer"])] = ("dense", "eugen", "prp")
    """Networks of each method, as for eugen-bench train: layer kinds, with flags of the model behind colons where
    wanted, such as eugen:num_features=16."""
    options: tuple[str, ...] = ()
    """Flags of the model for all runs, as name=value: num_layers=8 replace=5,6,7."""
    seed: tuple[int, ...] = (0,)
    """Seeds of the runs of each network on each scene."""
    steps: int | None = None
    """Training steps of each run. Default: 400; with --quick 100."""
    size: int | None = None
    """Largest width of the images, pixels: wider ones are reduced by the smallest whole factor that will do, to the
    means of blocks of pixels. Default: 100; with --quick 50."""
    views: int | None = None
    """Test views of each scene that are scored, evenly spread; 0: all. Default: all; with --quick 2."""
    output: Path = Path("outputs/benchmark/scenes")
    """Folder of the training runs."""
    quick: bool = False
    """Short runs on small images: seconds each on a CPU."""
    json: Path = Path("outputs/benchmark/scenes.json")
    """JSON file of the results, of several calls if they name the same one. What is in it is not measured again."""

    defaults: ClassVar = {"steps": 400, "size": 100, "views": 0}
    quick_defaults: ClassVar = {"steps": 100, "size": 50, "views": 2}

    def check(self) -> None:
        self.require(1, "layers", "method", "scene", "steps", "size")
        self.require(0, "seed", "views")

    def measure(self, results: Results) -> tuple[str, list[Path]]:
        """Trains what is missing in the results; the table and the plot have all runs in the file."""
        if any(name not in run for run in results.runs for name in _NEEDED):
            raise InputError(f"--json {self.json} holds results of another benchmark. Name another file.")
        self.sweep(list(self._cases()), results)
        return markdown_table(results.runs), self.drawn(lambda path: draw(results.runs, path))

    def _cases(self) -> Iterator[Case]:
        """What names a run in the JSON file, and what trains it. Raises InputError where there is none yet."""
        from eugen_fields.benchmark.quality.trial import Trial

        shared = {"output": self.output, "options": self.options, "steps": self.steps, "views": self.views or 0}
        shared |= {"num_scales": 1, "rate_factor": 1.0, "checkpoints": 1, "curve_views": 1}
        shared |= {"device_type": self.device_type}
        scenes = {scene: reduction(scene, self.method[0], self.size or 1) for scene in find_scenes(self.scene)}
        for seed, (scene, (factor, width)) in itertools.product(self.seed, scenes.items()):
            for method, layer in itertools.product(self.method, self.layers):
                key = {"scene": scene.name, "width": width, "method": method, "layer": layer}
                key |= {"options": list(self.options), "steps": self.steps, "views_scored": self.views, "seed": seed}
                trial = Trial(layer=layer, method=method, scene=scene, scale_factor=1 / factor, **shared)
                words = ", ".join((scene.name, method, layer, *self.options, f"seed {seed}"))
                yield Case(key, words, partial(_measured, trial, seed))


def find_scenes(folders: tuple[Path, ...]) -> list[Path]:
    """The scenes that folders are, or that lie in them, by name within each folder.

    Raises:
        InputError: a folder that is none and holds none, or two scenes of one name, which tables could not tell apart.
    """
    found: dict[str, Path] = {}
    for folder in (folder.resolve() for folder in folders):
        if not folder.is_dir():
            raise InputError(f"--scene {folder}: there is no such folder.")
        inside = [folder] if _is_scene(folder) else sorted(filter(_is_scene, folder.iterdir()))
        if not inside:
            raise InputError(
                f"--scene {folder}: neither it nor a folder in it is a scene, with {' or '.join(_MARKS)}. "
                "`python scenes/render_suite.py -o DIR` renders a dozen scenes."
            )
        for scene in inside:
            if found.setdefault(scene.name, scene) != scene:
                raise InputError(
                    f"--scene: {found[scene.name]} and {scene} have one name, by which results are kept. Rename one."
                )
    return list(found.values())


def _is_scene(folder: Path) -> bool:
    return any((folder / name).is_file() for name in _MARKS)


def reduction(scene: Path, method: str, size: int) -> tuple[int, int]:
    """The smallest whole factor that reduces the images of a scene to a width of at most `size`, and that width.

    Raises:
        InputError: a scene that the method cannot read, or whose images the factor does not divide.
    """
    from eugen_fields.benchmark.quality.train import make_config
    from eugen_fields.data.checks import check_scene

    manager: Any = make_config(method, scene, Path()).pipeline.datamanager
    check_scene(manager.dataparser, scene, ("train", "test"))
    manager.dataparser.data = scene
    cameras = set_up_parser(manager.dataparser).get_dataparser_outputs("train").cameras
    width, height = int(cameras.width.max()), int(cameras.height.max())
    factor = -(-width // size)
    if width % factor or height % factor:
        raise InputError(
            f"--size {size}: images of {scene} have {width}x{height} pixels, which blocks of {factor}x{factor} do not "
            f"divide. Give another --size, such as {width}, which takes them as they are."
        )
    return factor, width // factor


def _measured(trial: Trial, seed: int) -> dict[str, Any]:
    """Trains and scores one network on one scene: an entry of the JSON file."""
    run = {name: value for name, value in trial.run(seed, None, None).items() if name != "curve"}
    return run | {"collapsed": has_collapsed(run)}


def has_collapsed(run: dict[str, Any]) -> bool:
    """Whether a run shows nothing: the background alone, next to no opacity, or fog.

    `eugen-bench train` asks for 3 dB more than the background alone; where an object is small or as white as the
    background, that much is beyond good runs too.
    """
    return not run["psnr"] > run["empty_psnr"] + 1.0 or not run["opacity"] > 0.1 or not run["fog"] < 0.5
