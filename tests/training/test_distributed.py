"""nerfstudio's own multi-process launch on two CPU processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from nerfstudio.scripts import train
from support.helpers import PROJECT, TRAIN_FLAGS, typed

from eugen_fields.errors import InputError

_PROBE = PROJECT / "tests" / "training" / "distributed_probe.py"


NERF = ("eugen-nerf-tiny",)
DENSE_START = (*NERF, "--pipeline.model.dense-start", "0.4")
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
    result = subprocess.run(
        [
            sys.executable, str(_PROBE), str(tmp_path / "probe"), method, *flags, "--data", str(sphere_scene),
            "--output-dir", str(tmp_path), "--timestamp", "run", "--machine.num-devices", "2",
            "--max-num-iterations", "10", "--pipeline.target-num-samples", "2048",
            "--pipeline.model.grid-resolution", "16", "--pipeline.model.grid-warmup-steps", "4",
            "--pipeline.model.grid-update-interval", "4", *TRAIN_FLAGS,
        ],
        capture_output=True, text=True, timeout=400,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    first, second = (torch.load(tmp_path / "probe" / f"rank{rank}.pt", weights_only=True) for rank in (0, 1))
    assert set(first["weights"]) == set(second["weights"])
    footprints = [probed["weights"].pop("field.footprint", None) for probed in (first, second)]
    if flags is MIP:  # each process measures its own rays, from the value of the first on
        torch.testing.assert_close(footprints[0], footprints[1], rtol=0.05, atol=0)
    for name, weight in first["weights"].items():
        assert torch.equal(weight, second["weights"][name]), f"{name} differs between the processes"
    assert not bool(first["weights"]["grid.density"].eq(0).all()), "the grid has been updated"
    assert not torch.equal(first["origins"], second["origins"]), "the processes must draw different rays"
    for name, gradient in first["averaged"].items():
        mean = (first["own"][name] + second["own"][name]) / 2
        torch.testing.assert_close(gradient, mean, rtol=1e-4, atol=1e-6)
        assert torch.equal(gradient, second["averaged"][name])


def test_more_gpus_than_there_are_is_one_message(sphere_scene: Path, tmp_path: Path) -> None:
    flags = ("--machine.num-devices", 0)
    with pytest.raises(InputError, match="--machine.num-devices is 0"):
        train.main(typed("eugen-nerf-tiny", sphere_scene, tmp_path / "out", *flags))
