"""nerfstudio's own multi-process launch on two CPU processes, of one machine or of two."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from nerfstudio.scripts import train
from support.helpers import PROJECT, TRAIN_FLAGS, typed

from eugen_fields.errors import InputError

_PROBE = PROJECT / "tests" / "training" / "distributed_probe.py"


NERF = ("eugen-nerf-tiny",)
DENSE_START = (*NERF, "--pipeline.model.layer", "eugen", "--pipeline.model.dense-start", "0.4")
MIP = (
    "eugen-mipnerf-tiny", "--pipeline.model.camera-optimizer.mode", "SO3xR3", "--pipeline.model.appearance-dim", "2",
    "--pipeline.model.anneal-steps", "10",
)  # fmt: skip


@pytest.mark.parametrize(
    "flags, method",
    [
        pytest.param(NERF, "fork", id="nerf", marks=pytest.mark.e2e),
        pytest.param(DENSE_START, "fork", id="dense start", marks=pytest.mark.e2e),
        pytest.param(NERF, "spawn", id="nerf spawned", marks=pytest.mark.slow),
        pytest.param(MIP, "spawn", id="mipnerf spawned", marks=pytest.mark.slow),
    ],
)
def test_two_processes_average_gradients_and_agree(
    flags: tuple[str, ...], method: str, sphere_scene: Path, tmp_path: Path
) -> None:
    """Each process writes, after training, its weights and buffers, and the gradients before and after averaging.

    nerfstudio spawns its processes, each of which imports everything anew; forked ones do the same work in a third of
    the time."""
    result = subprocess.run(_words(method, flags, sphere_scene, tmp_path, "--machine.num-devices", 2), **_CAPTURED)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    _check_agreement(tmp_path, mip=flags is MIP)


@pytest.mark.e2e
def test_two_machines_train_one_run(sphere_scene: Path, tmp_path: Path) -> None:
    """Two machines on one, as they are told apart by their ranks. The second one writes no run."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    machines = []
    for rank in (0, 1):
        own = ("--machine.num-machines", 2, "--machine.machine-rank", rank, "--machine.dist-url", url)
        words = _words("fork", NERF, sphere_scene, tmp_path, *own)
        words[words.index("run")] = ("run", "later")[rank]
        machines.append(subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
    printed = [machine.communicate(timeout=400)[0] for machine in machines]
    assert [machine.returncode for machine in machines] == [0, 0], printed
    _check_agreement(tmp_path, mip=False)
    assert [path.parent.name for path in tmp_path.rglob("config.yml")] == ["run"]
    assert {path.parent.parent.name for path in tmp_path.rglob("*.ckpt")} == {"run"}
    (other,) = tmp_path.rglob("later")
    assert [path.name for path in other.iterdir()] == ["dataparser_transforms.json"], "nerfstudio's, of every process"


_CAPTURED: dict[str, Any] = {"capture_output": True, "text": True, "timeout": 400}


def _words(method: str, flags: tuple[str, ...], scene: Path, folder: Path, *machine: object) -> list[str]:
    """The probe's command."""
    return [
        sys.executable, str(_PROBE), str(folder / "probe"), method, *flags, "--data", str(scene),
        "--output-dir", str(folder), "--timestamp", "run", *map(str, machine), "--machine.device-type", "cpu",
        "--max-num-iterations", "10", "--pipeline.target-num-samples", "2048",
        "--pipeline.model.grid-resolution", "16", "--pipeline.model.grid-warmup-steps", "4",
        "--pipeline.model.grid-update-interval", "4", *TRAIN_FLAGS,
    ]  # fmt: skip


def _check_agreement(folder: Path, mip: bool) -> None:
    """What the two processes wrote: equal weights, other rays, and averaged gradients."""
    first, second = (torch.load(folder / "probe" / f"rank{rank}.pt", weights_only=True) for rank in (0, 1))
    assert set(first["weights"]) == set(second["weights"])
    footprints = [probed["weights"].pop("field.footprint", None) for probed in (first, second)]
    if mip:  # each process measures its own rays, from the value of the first on
        torch.testing.assert_close(footprints[0], footprints[1], rtol=0.05, atol=0)
    for name, weight in first["weights"].items():
        assert torch.equal(weight, second["weights"][name]), f"{name} differs between the processes"
    assert not bool(first["weights"]["grid.density"].eq(0).all()), "the grid has been updated"
    assert not torch.equal(first["origins"], second["origins"]), "the processes must draw different rays"
    for name, gradient in first["averaged"].items():
        mean = (first["own"][name] + second["own"][name]) / 2
        torch.testing.assert_close(gradient, mean, rtol=1e-4, atol=1e-6)
        assert torch.equal(gradient, second["averaged"][name])


def test_machines_that_cannot_find_each_other_are_one_message(sphere_scene: Path, tmp_path: Path) -> None:
    url = ("--machine.dist-url", "tcp://127.0.0.1:1")
    for flags, message in (
        (("--machine.num-machines", 2), "--machine.dist-url tcp://HOST:PORT"),
        (
            ("--machine.num-machines", 2, "--machine.machine-rank", 2, *url),
            "machine-rank is 2 of --machine.num-machines 2",
        ),
        (("--machine.machine-rank", 1), "must be from 0 to 0"),
        (("--machine.num-machines", 0), "--machine.num-machines is 0"),
    ):
        with pytest.raises(InputError, match=message):
            train.main(typed("eugen-nerf-tiny", sphere_scene, tmp_path / "out", *flags))
        assert not (tmp_path / "out").exists()


def test_more_gpus_than_there_are_is_one_message(sphere_scene: Path, tmp_path: Path) -> None:
    flags = ("--machine.num-devices", 0)
    with pytest.raises(InputError, match="--machine.num-devices is 0"):
        train.main(typed("eugen-nerf-tiny", sphere_scene, tmp_path / "out", *flags))
