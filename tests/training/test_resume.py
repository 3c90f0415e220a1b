"""Runs stop at any moment and resume without loss."""

from __future__ import annotations

import contextlib
import copy
import io
import os
import random
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
import tyro
from nerfstudio.configs.method_configs import AnnotatedBaseConfigUnion
from nerfstudio.scripts import train
from support.full_disk import file_size_limit
from support.helpers import BIN, TRAIN_FLAGS

from eugen_fields.errors import InputError
from eugen_fields.runs.checkpoints import (
    checkpoint_path,
    list_checkpoints,
    read_checkpoint,
    read_newest_checkpoint,
    write_checkpoint,
)

STEPS = 60


def train_flags(scene: Path, output: Path, name: str, *more: object) -> list[str]:
    flags = (
        "eugen-nerf-tiny", "--data", scene, "--output-dir", output, "--timestamp", name,
        "--max-num-iterations", STEPS, "--steps-per-save", 2, "--pipeline.target-num-samples", 4096,
        "--pipeline.model.grid-resolution", 16, "--pipeline.model.grid-warmup-steps", 10, *TRAIN_FLAGS, *more,
    )  # fmt: skip
    return [str(flag) for flag in flags]


def interrupt(scene: Path, output: Path, how: int, moment: float) -> Path:
    """Starts a training, sends a signal `moment` seconds after its first checkpoint, and returns the checkpoint folder.
    Fails if the training ended before the signal."""
    folder = output / "sphere" / "eugen-nerf-tiny" / "first" / "nerfstudio_models"
    with subprocess.Popen(
        [str(BIN / "ns-train"), *train_flags(scene, output, "first", "--max-num-iterations", 100_000)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        deadline = time.monotonic() + 240
        while not (folder.is_dir() and list_checkpoints(folder)):
            assert process.poll() is None, process.communicate()[0][-3000:]
            assert time.monotonic() < deadline
            time.sleep(0.02)
        time.sleep(moment)
        os.killpg(process.pid, how)
        printed = process.communicate(timeout=120)[0]
    assert process.returncode == (-signal.SIGKILL if how == signal.SIGKILL else 130), printed[-3000:]
    if how == signal.SIGINT:
        assert "--load-dir" in printed and "Traceback" not in printed
    return folder


def resume_and_check(scene: Path, output: Path, folder: Path) -> None:
    newest = list_checkpoints(folder)[-1][0]
    total = newest + 4
    words = train_flags(scene, output, "second", "--max-num-iterations", total, "--load-dir", folder)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        train.main(copy.deepcopy(tyro.cli(AnnotatedBaseConfigUnion, args=words)))
    assert f"Resuming after step {newest}" in re.sub(r"\s+", " ", printed.getvalue())
    ended = list_checkpoints(output / "sphere" / "eugen-nerf-tiny" / "second" / "nerfstudio_models")[-1]
    assert ended[0] == total - 1, "a resumed training ends where an uninterrupted one would"
    assert all(torch.isfinite(value).all() for value in read_checkpoint(ended[1])["pipeline"].values() if value.dim())


@pytest.mark.e2e
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_an_interrupted_training_resumes(how: int, sphere_scene: Path, tmp_path: Path) -> None:
    moment = random.Random(how).uniform(0.0, 1.0)
    resume_and_check(sphere_scene, tmp_path, interrupt(sphere_scene, tmp_path, how, moment))


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("attempt", range(20))
def test_an_interrupted_training_always_resumes(attempt: int, sphere_scene: Path, tmp_path: Path) -> None:
    how = (signal.SIGKILL, signal.SIGINT)[attempt % 2]
    moment = random.Random(100 + attempt).uniform(0.0, 2.0)
    resume_and_check(sphere_scene, tmp_path, interrupt(sphere_scene, tmp_path, how, moment))


@pytest.mark.parametrize("first, then", [("adam", "muon"), ("muon", "adam")])
def test_a_checkpoint_of_another_optimiser_is_named(first: str, then: str, sphere_scene: Path, tmp_path: Path) -> None:
    flag = "--optimizers.fields.optimizer.algorithm"
    words = train_flags(sphere_scene, tmp_path, "first", "--max-num-iterations", 3, flag, first)
    train.main(copy.deepcopy(tyro.cli(AnnotatedBaseConfigUnion, args=words)))
    folder = tmp_path / "sphere" / "eugen-nerf-tiny" / "first" / "nerfstudio_models"
    for algorithm, steps in ((then, 5), (first, 6)):
        words = train_flags(
            sphere_scene, tmp_path, f"by {algorithm}", "--max-num-iterations", steps, "--load-dir", folder,
            flag, algorithm,
        )  # fmt: skip
        config = copy.deepcopy(tyro.cli(AnnotatedBaseConfigUnion, args=words))
        if algorithm == first:
            train.main(config)
            continue
        config.save_config()
        config.pipeline.datamanager.data = sphere_scene
        trainer = config.setup(local_rank=0, world_size=1)
        with pytest.raises(
            InputError, match=f"was trained by {first}.*--optimizers.fields.optimizer.algorithm {first}"
        ):
            trainer.setup()
    ended = tmp_path / "sphere" / "eugen-nerf-tiny" / f"by {first}" / "nerfstudio_models"
    assert list_checkpoints(ended)[-1][0] == 5


def state(step: int) -> dict:
    return {"step": step, "pipeline": {"weight": torch.full((1000,), float(step))}}


def test_a_truncated_checkpoint_is_named_and_the_one_before_it_used(tmp_path: Path, capsys) -> None:
    folder = tmp_path / "nerfstudio_models"
    for step in (10, 20):
        write_checkpoint(state(step), folder, step, keep=2)
    newest = checkpoint_path(folder, 20)
    newest.write_bytes(newest.read_bytes()[:-700])
    loaded, path = read_newest_checkpoint(folder)
    assert loaded["step"] == 10 and path == checkpoint_path(folder, 10)
    printed = capsys.readouterr().out.replace("\n", "")
    assert newest.name in printed and "truncated" in printed


def test_no_readable_checkpoint_is_an_error_that_names_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "nerfstudio_models"
    write_checkpoint(state(3), folder, 3, keep=None)
    checkpoint_path(folder, 3).write_bytes(b"")
    with pytest.raises(InputError, match="none of the 1 checkpoints"):
        read_newest_checkpoint(folder)
    with pytest.raises(InputError, match="no checkpoint folder"):
        read_newest_checkpoint(tmp_path / "gone")


def test_only_the_newest_checkpoints_are_kept(tmp_path: Path) -> None:
    folder = tmp_path / "nerfstudio_models"
    for step in range(5):
        write_checkpoint(state(step), folder, step, keep=2)
    assert [step for step, _ in list_checkpoints(folder)] == [3, 4]
    assert {path.name for path in tmp_path.iterdir()} == {"nerfstudio_models"}, "no unfinished file is left"


@pytest.mark.parametrize("limit", [0, 100, 3000])
def test_a_failed_write_leaves_the_earlier_checkpoints(limit: int, tmp_path: Path) -> None:
    folder = tmp_path / "nerfstudio_models"
    write_checkpoint(state(1), folder, 1, keep=2)
    with file_size_limit(limit), pytest.raises(InputError, match=r"step-000000002\.ckpt: File too large\. Earlier"):
        write_checkpoint(state(2), folder, 2, keep=2)
    assert [step for step, _ in list_checkpoints(folder)] == [1]
    assert {path.name for path in tmp_path.iterdir()} == {"nerfstudio_models"}
