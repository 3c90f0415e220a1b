"""A campaign of hostile input: files and flags damaged at random, each given to a command as a user would.

    python -m support.hostile --seed 0 --trials 300           all trials of a seed; the failing ones are listed
    python -m support.hostile --seed 0 --only 17 --keep DIR   one of them again, with its files and what it printed

(from tests/, or with tests/ in PYTHONPATH.) A trial ends well if the command succeeds, or ends with one line that says
what is wrong. It fails by a traceback, silence, a signal, more time than it may take, code run from a file, or a file
that was there before and is changed or gone.

Everything is imported once. Each trial is a fork of that process, which costs milliseconds where a command that starts
anew costs seconds, and which no other trial can disturb.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import importlib
import os
import random
import re
import shutil
import sys
import tempfile
import traceback
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from support import mutations
from support.trials import Outcome, Trial, run

TRAIN = (
    "--vis", "tensorboard", "--viewer.quit-on-train-completion", "True", "--max-num-iterations", "2",
    "--timestamp", "run",
    "--steps-per-eval-image", "1", "--pipeline.datamanager.eval-num-rays-per-batch", "16",
)  # fmt: skip
SMALL = (
    "--pipeline.target-num-samples", "512", "--pipeline.model.grid-resolution", "8",
    "--pipeline.model.samples-per-diagonal", "16", "--pipeline.model.num-layers", "2",
    "--pipeline.model.layer-width", "16", "--pipeline.model.num-features", "8",
)  # fmt: skip
SCENES = ("blender", "capture", "colmap", "depth", "replica", "tum")
METHODS = ("eugen-nerf-tiny", "eugen-mipnerf-tiny", "eugen-isdf-tiny", "eugen-nerf")


def make_templates(folder: Path) -> None:
    """Scenes and runs to damage, a few kilobytes each; in a process of its own, so that the caller never trains."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            with open(folder / "log.txt", "w") as log, contextlib.redirect_stdout(log):
                _write_templates(folder)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    if os.waitpid(child, 0)[1] != 0:
        raise RuntimeError(f"the templates cannot be made; see {folder / 'log.txt'}")


def _write_templates(folder: Path) -> None:
    from nerfstudio.scripts import train

    from support import depth_recordings, helpers
    from support.view_helpers import write_run

    helpers.write_sphere_scene(folder / "blender", size=12, train=4, test=1)
    helpers.write_capture_scene(folder / "capture", size=12, count=5)
    helpers.write_colmap_scene(folder / "colmap", size=12, count=5)
    depth_recordings.write_transforms(folder / "depth", count=4)
    depth_recordings.write_replica(folder / "replica", count=4)
    depth_recordings.write_tum(folder / "tum", count=4)
    for kind in ("nerf", "mipnerf", "isdf"):
        write_run(folder / f"run-{kind}", kind, data=None if kind == "isdf" else folder / "blender")
    for name, method, data, *flags in (
        ("trained", "eugen-nerf-tiny", folder / "blender", *SMALL),
        ("mapped", "eugen-isdf-tiny", folder / "depth"),
    ):
        config = helpers.typed(method, data, folder / name, *flags, "--max-num-iterations", 2)
        train.main(config)
        config.get_base_dir().rename(folder / f"run-{name}")


def draw(rng: random.Random, templates: Path, folder: Path) -> Trial:
    """One trial of the campaign, its files written to a folder."""
    kinds = {_scene: 8, _image: 6, _checkpoint: 6, _config: 4, _flags: 8}
    kind = rng.choices(list(kinds), weights=list(kinds.values()))[0]
    return kind(rng, templates, folder)


def _train(scene: str, data: Path, output: Path, rng: random.Random, flags: Sequence[object] = ()) -> list[object]:
    parser: list[object] = {"capture": ["nerfstudio-data"], "colmap": ["colmap"]}.get(scene, [])
    if scene in ("depth", "replica", "tum"):
        return ["ns-train", "eugen-isdf-tiny", "--data", data, "--output-dir", output, *TRAIN, *flags]
    if scene == "colmap":
        parser = ["colmap", "--downscale-factor", "1"]
    method = rng.choice(("eugen-nerf-tiny", "eugen-mipnerf-tiny"))
    return ["ns-train", method, "--data", data, "--output-dir", output, *TRAIN, *SMALL, *flags, *parser]


def _scene(rng: random.Random, templates: Path, folder: Path) -> Trial:
    """Texts of a scene."""
    scene = rng.choice(SCENES)
    data = mutations.copy(templates / scene, folder / "data")
    texts = sorted(path for path in data.rglob("*") if path.suffix in (".json", ".txt"))
    done = []
    for path in rng.sample(texts, k=min(len(texts), rng.choice((1, 1, 2)))):
        done.append((mutations.damage_json if path.suffix == ".json" else mutations.damage_text)(rng, path))
    words = _train(scene, data, folder / "out", rng)
    if scene == "blender" and rng.random() < 0.3:
        run = mutations.copy(templates / "run-trained", folder / "trained" / "blender" / "eugen-nerf-tiny" / "run")
        config = run / "config.yml"
        moved = _elsewhere(config.read_text(), templates / "trained", folder / "trained")
        config.write_text(_elsewhere(moved, templates / "blender", data))
        words = ["ns-eval", "--load-config", config, "--output-path", folder / "scores.json"]
    return Trial(words, "; ".join(done), [data], folder / "canary")


def _elsewhere(config: str, old: Path, new: Path) -> str:
    """A config.yml with another folder in place of one; paths stand there part by part."""
    part = "".join(rf"(\s*)- {re.escape(name)}\n" for name in old.parts[1:])
    return re.sub(part, lambda match: "".join(f"{match[1]}- {name}\n" for name in new.parts[1:]), config)


def _image(rng: random.Random, templates: Path, folder: Path) -> Trial:
    """Images, depth images and masks of a scene."""
    scene = rng.choice(SCENES)
    data = mutations.copy(templates / scene, folder / "data")
    images = sorted(path for path in data.rglob("*") if path.suffix in (".png", ".jpg", ".npy", ".exr"))
    chosen = rng.sample(images, k=min(len(images), rng.choice((1, 1, 1, 2, len(images)))))
    done = [mutations.damage_image(rng, path) for path in chosen]
    return Trial(_train(scene, data, folder / "out", rng), "; ".join(done), [data], folder / "canary")


def _checkpoint(rng: random.Random, templates: Path, folder: Path) -> Trial:
    name = rng.choice(("nerf", "mipnerf", "isdf", "trained", "trained", "mapped"))
    run = mutations.copy(templates / f"run-{name}", folder / "run")
    path = sorted((run / "nerfstudio_models").glob("*.ckpt"))[-1]
    done = mutations.damage_checkpoint(rng, path, folder / "canary")
    words = _open(rng, run, folder)
    if name in ("trained", "mapped") and rng.random() < 0.7:
        resumed = ["--load-dir", run / "nerfstudio_models", "--max-num-iterations", "3"]
        scene = "blender" if name == "trained" else "depth"
        words = [*_train(scene, templates / scene, folder / "out", rng, resumed)]
        words[1] = "eugen-nerf-tiny" if name == "trained" else "eugen-isdf-tiny"
    return Trial(words, done, [run], folder / "canary")


def _config(rng: random.Random, templates: Path, folder: Path) -> Trial:
    run = mutations.copy(templates / f"run-{rng.choice(('nerf', 'mipnerf', 'isdf'))}", folder / "run")
    kind = rng.random()
    if kind < 0.8:
        done = mutations.damage_config(rng, run / "config.yml", folder / "canary")
    else:
        done = mutations.damage_json(rng, run / "dataparser_transforms.json")
    return Trial(_open(rng, run, folder), done, [run], folder / "canary")


def _open(rng: random.Random, run: Path, folder: Path) -> list[object]:
    """A command of ours on a run."""
    export = ["eugen-export", run, "--output", folder / "mesh.ply", "--resolution", 16, "--device", "cpu"]
    smaller = ["eugen-transfer", run, "--output-dir", folder / "smaller", "--num-features", "8"]
    return rng.choice((export, export, ["eugen-view", run, "--port", "0", "--device", "cpu"], smaller))


def _flags(rng: random.Random, templates: Path, folder: Path) -> Trial:
    """Numbers of flags."""
    values = (*mutations.NUMBERS, "2147483647", "4294967296", "9223372036854775808", "1e-300", "-1e30", "1000000")
    if rng.random() < 0.25:
        run = mutations.copy(templates / f"run-{rng.choice(('nerf', 'mipnerf', 'isdf'))}", folder / "run")
        words = _open(rng, run, folder)
        names = _numbers_of_command(str(words[0]))
        name, value = rng.choice(names), rng.choice(values)
        return Trial([*words, name, value], f"{name} {value}", [run], folder / "canary")
    method = rng.choice(METHODS)
    names = numbers_of_method(method)
    scene = {"eugen-isdf-tiny": "depth"}.get(method, "blender")
    data = mutations.copy(templates / scene, folder / "data")
    words = _train(scene, data, folder / "out", rng)
    words[1] = method
    extra: list[object] = []
    for name in rng.sample(names, k=rng.choice((1, 1, 2))):
        value = rng.choice(values)
        if name in ("--max-num-iterations", "--machine.num-devices") and value in ("2147483647", "1000000"):
            continue  # these may be meant
        extra += [name, value]
    return Trial([*words, *extra], " ".join(map(str, extra)), [data], folder / "canary")


def numbers_of_method(method: str) -> list[str]:
    """Flags of ns-train that take a number."""
    from eugen_fields.methods import METHODS as ALL

    skipped = ("num-machines", "machine-rank")  # ns-train waits for other machines, as asked
    names = _numbers_of(ALL[method], "")
    return [name for name in names if not name.startswith("--viewer") and not name.endswith(skipped)]


def _numbers_of_command(command: str) -> list[str]:
    from eugen_fields.meshing.export import ExportOptions
    from eugen_fields.transfer.options import TransferOptions
    from eugen_viewer.cli import ViewOptions

    options = {"eugen-export": ExportOptions, "eugen-view": ViewOptions, "eugen-transfer": TransferOptions}
    return _numbers_of(options[command], "")


def _numbers_of(settings: Any, path: str) -> list[str]:
    """Flags of a dataclass that take one number or more, those of dataclasses in it too."""
    names = []
    for item in dataclasses.fields(settings):
        value, name = getattr(settings, item.name, None), f"{path}.{item.name}".lstrip(".")
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            names += _numbers_of(value, name)
        elif isinstance(value, dict):
            parts = ((f"{group}.{part}", inner) for group, inside in value.items() for part, inner in inside.items())
            names += [flag for part, inner in parts for flag in _numbers_of(inner, f"{name}.{part}")]
        elif re.search(r"\b(int|float)\b", str(item.type)) and "Suppress" not in str(item.type):
            names.append("--" + name.replace("_", "-"))
    return names


def campaign(seed: int, trials: Sequence[int], keep: Path | None = None) -> Iterator[tuple[int, Trial, Outcome]]:
    """Runs trials of a seed, one after the other. Each is drawn from the seed and its own number alone.

    Args:
        seed, trials: which ones.
        keep: folder for the files of all of them; None: they are removed.
    """
    _import_everything()
    with tempfile.TemporaryDirectory(prefix="hostile-") as temporary:
        templates = Path(temporary) / "templates"
        templates.mkdir()
        make_templates(templates)
        for number in trials:
            folder = (keep or Path(temporary)) / f"trial-{seed}-{number}"
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                trial = draw(random.Random(f"{seed} {number}"), templates, folder)
            yield number, trial, run(trial, folder / "output.txt")
            if keep is None:
                shutil.rmtree(folder, ignore_errors=True)


_IMPORTED = (
    "nerfstudio.scripts.eval",
    "nerfstudio.scripts.train",
    "open3d",
    "tensorboard",
    "torch.utils.tensorboard",
    "viser",
    "eugen_fields.meshing.export_mesh",
    "eugen_fields.methods",
    "eugen_fields.transfer.new_run",
    "eugen_viewer.app",
)


def _import_everything() -> None:
    """What the commands import, once."""
    import torch

    for name in _IMPORTED:
        importlib.import_module(name)
    torch.set_num_threads(1)  # threads do not outlive a fork


def again(seed: int, number: int) -> str:
    """How to repeat a trial."""
    return f"python -m support.hostile --seed {seed} --only {number} --keep DIR"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seed", type=int, default=0, help="What all trials are drawn from.")
    parser.add_argument("--trials", type=int, default=300, help="Number of trials.")
    parser.add_argument("--only", type=int, help="Number of the one trial to run; its output is printed.")
    parser.add_argument("--keep", type=Path, help="Folder in which the files of the trials stay.")
    options = parser.parse_args()
    numbers = range(options.trials) if options.only is None else [options.only]
    failed = 0
    for number, trial, outcome in campaign(options.seed, numbers, options.keep):
        if options.only is not None:
            print(outcome.output)
        last = (outcome.output.strip().splitlines() or [""])[-1][:160]
        ended = f"{outcome.seconds:5.1f} s  {trial.words[0]}  {trial.damage[:120]!r}  {outcome.status}  {last}"
        print(f"{number:4d} {ended}", flush=True)
        if outcome.faults:
            failed += 1
            print(f"     FAILED: {'; '.join(outcome.faults)}\n     {again(options.seed, number)}", flush=True)
    print(f"{len(numbers) - failed} of {len(numbers)} trials ended well")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
