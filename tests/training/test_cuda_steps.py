"""Trainings on a CUDA device, as far as they can be had without one: support/fake_cuda.py stands in for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support import fake_cuda
from support.helpers import PROJECT

pytestmark = [
    pytest.mark.e2e,  # processes of their own, before which the stand-ins of CUDA's libraries are loaded
    pytest.mark.skipif(fake_cuda.missing() is not None, reason=str(fake_cuda.missing())),
]

MOST_SYNCHRONISATIONS = {"nerf": 4, "mipnerf": 4, "planes": 4, "isdf": 8}
"""A step, by the first word of a family: the host has to wait for numbers of rays and samples, and for the scale of the
gradients."""
MOST_UPLOADS = {"isdf": 2}

DEVICE = """
import os
import sys
import torch
from support import fake_cuda

with fake_cuda.fake_cuda():
    x = torch.ones(4, 3, device="cuda")
    layer = torch.nn.Linear(3, 2).to("cuda:0")
    layer(x).sum().backward()
    assert str(x.device) == str(layer.weight.grad.device) == "cuda:0" and x.is_cuda
    with torch.autocast("cuda"):
        assert layer(x).dtype == torch.float16
    for mixed in (
        lambda: x + torch.ones(4, 3),
        lambda: torch.cat([x, torch.ones(4, 3)]),
        lambda: torch.ones(4)[torch.zeros(2, dtype=torch.long, device="cuda")],
        lambda: torch.where(x > 0, x, torch.ones(4, 3)),
    ):
        try:
            mixed()
        except RuntimeError as error:
            assert "same device" in str(error), error
        else:
            raise AssertionError("devices were mixed")
    try:
        x.numpy()
    except TypeError:
        pass
    else:
        raise AssertionError("numpy has no tensors of a GPU")

    def cost(call):
        fake_cuda.reset()
        call()
        return fake_cuda.reset().numbers()[1:]

    place, two = torch.zeros(2, dtype=torch.long), torch.ones(())
    for call, wanted in (
        (lambda: x * 2 + two, (0, 0)),
        (lambda: x.sum().item(), (1, 0)),
        (lambda: bool((x > 0).any()), (1, 0)),
        (lambda: x[x > 0], (1, 0)),
        (lambda: x.nonzero(), (1, 0)),
        (lambda: x.tolist(), (1, 0)),
        (lambda: x.cpu(), (1, 0)),
        (lambda: x[place], (0, 1)),
        (lambda: torch.tensor([1.0], device="cuda"), (0, 1)),
        (lambda: place.to("cuda"), (0, 1)),
        (lambda: torch.zeros(3, device="cuda"), (0, 0)),
        (lambda: x.new_zeros(3), (0, 0)),
    ):
        found = cost(call)
        assert found == wanted, (found, wanted)
print("the device is as it should be")
sys.stdout.flush()
os._exit(0)  # autograd's thread of the device would end in the midst of C++ as the interpreter does
"""


def run(tmp_path: Path, *words: object) -> str:
    environment = fake_cuda.environment(tmp_path)
    environment["PYTHONPATH"] = f"{PROJECT}:{PROJECT / 'viewer'}:{PROJECT / 'tests'}"
    command = [sys.executable, "-W", "ignore", *map(str, words)]
    result = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=900)
    assert result.returncode == 0, (result.stdout + result.stderr)[-5000:]
    return result.stdout


def test_the_stand_in_finds_what_a_gpu_would(tmp_path: Path) -> None:
    assert "the device is as it should be" in run(tmp_path, "-c", DEVICE)


def test_every_family_of_methods_trains_on_the_device_within_its_budget(tmp_path: Path) -> None:
    """Tensors of two devices in one operation raise in the process."""
    printed = run(tmp_path, Path(__file__).with_name("cuda_probe.py"), tmp_path / "out")
    lines = [line.removeprefix("probe ") for line in printed.splitlines() if line.startswith("probe ")]
    families: list[dict[str, Any]] = [json.loads(line) for line in lines]
    assert [family["name"].split()[0] for family in families] == [
        *("nerf", "nerf", "mipnerf", "mipnerf", "mipnerf", "planes", "isdf")
    ]
    if "EUGEN_TEST_ARTEFACTS" in os.environ:
        folder = Path(os.environ["EUGEN_TEST_ARTEFACTS"])
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "cuda_steps.json").write_text(json.dumps(families, indent=1) + "\n")
    for family in families:
        kind = family["name"].split()[0]
        assert len(family["steps"]) == 5
        # the last step: in the first ones pixels are drawn for the steps to come, and optimisers make their state
        _, synchronisations, uploads = family["steps"][-1]
        assert synchronisations <= MOST_SYNCHRONISATIONS[kind], family["where"]
        assert uploads <= MOST_UPLOADS.get(kind, 0), family["where"]
        assert all(len(step) == 3 for step in family["steps"]) and family["metrics"]
