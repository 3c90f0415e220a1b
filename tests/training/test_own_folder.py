"""A run's folder never has the files of two trainings, and what messages advise works."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
import yaml
from nerfstudio.scripts import train
from support.helpers import typed

from eugen_fields.benchmark.quality.train import make_config, train_run
from eugen_fields.errors import InputError
from eugen_fields.runs import place
from eugen_fields.runs.checkpoints import list_checkpoints, read_checkpoint, write_checkpoint
from eugen_fields.runs.opened import opening
from eugen_fields.training import own_folder

SMALL = (
    "--pipeline.target-num-samples",
    2048,
    "--pipeline.model.grid-resolution",
    8,
    "--pipeline.model.layer-width",
    16,
)


def config_of(scene: Path, output: Path, *flags: object):
    """The configuration of a run of two steps, named "run" unless flags say otherwise."""
    config = typed("eugen-nerf-tiny", scene, output, "--max-num-iterations", 2, *SMALL, *flags)
    config.pipeline.datamanager.data = config.data  # as ns-train does
    return config


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def message_of(config) -> str:
    with pytest.raises(InputError) as caught:
        train.main(config)
    return caught.value.message


def weights_of(folder: Path) -> torch.Tensor:
    state = read_checkpoint(list_checkpoints(folder / "nerfstudio_models")[-1][1])
    return next(value for name, value in state["pipeline"].items() if name.endswith("weight"))


@pytest.fixture(scope="module")
def first(sphere_scene: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a run of two steps."""
    config = config_of(sphere_scene, tmp_path_factory.mktemp("first"))
    train.main(config)
    return config.get_base_dir()


def output_of(run: Path) -> Path:
    return run.parents[2]


def test_a_second_training_is_refused_and_another_name_is_taken(sphere_scene: Path, first: Path) -> None:
    before = files_of(first)
    message = message_of(config_of(sphere_scene, output_of(first), "--machine.seed", 7))
    assert f"{first} holds a run already; nothing is overwritten. Give another --timestamp" in message
    assert files_of(first) == before
    config = config_of(sphere_scene, output_of(first), "--machine.seed", 7, "--timestamp", "again")
    train.main(config)
    assert files_of(first) == before
    assert not torch.equal(weights_of(config.get_base_dir()), weights_of(first))


def test_a_run_goes_on_in_its_folder_from_its_newest_checkpoint_alone(sphere_scene: Path, tmp_path: Path) -> None:
    train.main(config_of(sphere_scene, tmp_path, "--steps-per-save", 1, "--max-num-iterations", 3))
    folder = tmp_path / "sphere" / "eugen-nerf-tiny" / "run"
    checkpoints = folder / "nerfstudio_models"
    assert [step for step, _ in list_checkpoints(checkpoints)] == [1, 2]
    before = files_of(folder)
    earlier = ("--max-num-iterations", 4, "--load-dir", checkpoints, "--load-step", 1)
    message = message_of(config_of(sphere_scene, tmp_path, *earlier))
    assert "up to step 2" in message and "from step 1 would be mixed" in message and files_of(folder) == before
    other_name = config_of(sphere_scene, tmp_path, *earlier, "--timestamp", "other")
    train.main(other_name)
    assert [step for step, _ in list_checkpoints(other_name.get_checkpoint_dir())] == [3]
    said = message_of(config_of(sphere_scene, tmp_path))
    advice = re.search(r"--load-dir (\S+nerfstudio_models)", said)
    assert advice is not None
    train.main(config_of(sphere_scene, tmp_path, "--max-num-iterations", 4, "--load-dir", advice[1]))
    assert list_checkpoints(checkpoints)[-1][0] == 3


def test_runs_named_by_the_time_start_in_folders_of_their_own(sphere_scene: Path, tmp_path: Path, capsys) -> None:
    folders = []
    for _ in range(3):
        config = config_of(sphere_scene, tmp_path, "--timestamp", "2026-02-28_235959")
        config.save_config()
        folders.append(config.get_base_dir().name)
        assert (config.get_base_dir() / "config.yml").is_file()
    assert folders == ["2026-02-28_235959", "2026-03-01_000000", "2026-03-01_000001"]
    assert "holds a run already; this one goes to" in " ".join(capsys.readouterr().out.split())


def test_a_place_that_is_taken_while_the_scene_is_checked_is_not_shared(
    sphere_scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two trainings that begin in the same second both see an empty place at first."""
    config_of(sphere_scene, tmp_path, "--timestamp", "2026-02-03_040506").save_config()
    answers = iter([False])
    holds_run = place.holds_run
    monkeypatch.setattr(own_folder, "holds_run", lambda *folders: next(answers, None) or holds_run(*folders))
    second = config_of(sphere_scene, tmp_path, "--timestamp", "2026-02-03_040506", "--machine.seed", 9)
    second.save_config()
    assert second.get_base_dir().name == "2026-02-03_040507"
    seeds = [yaml.load(path.read_text(), yaml.Loader).machine.seed for path in sorted(tmp_path.rglob("config.yml"))]
    assert seeds == [42, 9]


def test_load_config_makes_a_run_of_its_own(sphere_scene: Path, first: Path, tmp_path: Path) -> None:
    before = files_of(first)
    empty = config_of(sphere_scene, tmp_path)
    empty.load_config = first / "config.yml"
    message = message_of(empty)
    assert "with it, change `timestamp` in a copy of the file" in message
    text = (first / "config.yml").read_text()
    assert text.count("\ntimestamp: run\n") == 1
    for number, name in enumerate(("2026-01-01_000000", "2026-01-01_000000")):
        copy = tmp_path / "config.yml"
        copy.write_text(text.replace("\ntimestamp: run\n", f"\ntimestamp: {name}\n"))
        empty.load_config = copy
        train.main(empty)
        assert list_checkpoints(first.parent / f"2026-01-01_00000{number}" / "nerfstudio_models")
    assert files_of(first) == before


def test_a_folder_with_other_files_is_free(sphere_scene: Path, tmp_path: Path) -> None:
    folder = tmp_path / "sphere" / "eugen-nerf-tiny" / "run"
    folder.mkdir(parents=True)
    (folder / "notes.txt").write_text("mine")
    config_of(sphere_scene, tmp_path).save_config()
    assert (folder / "config.yml").is_file() and (folder / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("trace", ["dataparser_transforms.json", "events.out.tfevents.1.x", "nerfstudio_models"])
def test_any_trace_of_a_training_keeps_others_out(trace: str, sphere_scene: Path, tmp_path: Path) -> None:
    folder = tmp_path / "sphere" / "eugen-nerf-tiny" / "run"
    folder.mkdir(parents=True)
    if trace == "nerfstudio_models":
        write_checkpoint({"step": 5}, folder / trace, 5, keep=None)
    else:
        (folder / trace).write_text("")
    with pytest.raises(InputError, match="holds a run already"):
        config_of(sphere_scene, tmp_path).save_config()


def test_the_demo_twice_makes_two_runs(sphere_scene: Path, tmp_path: Path) -> None:
    options = {"layer_width": 16, "num_layers": 2, "num_features": 4, "grid_resolution": 8}
    names = []
    for _ in range(2):
        config = make_config("eugen-nerf-tiny", sphere_scene, tmp_path, steps=1, model_options=options)
        train_run(config, progress=False)
        names.append(config.get_base_dir().name)
        events = list(config.get_base_dir().glob("events.*"))
        assert len(events) == 1 and list_checkpoints(config.get_checkpoint_dir())
    assert names == ["eugen-residual-seed42", "eugen-residual-seed42-2"]


def test_no_run_is_being_opened_here() -> None:
    assert opening() is None
