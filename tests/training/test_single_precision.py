"""Trainings on a device without float64, as Apple's GPUs are; support/single_precision.py stands in for them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.helpers import PROJECT
from torch.utils import backend_registration

pytestmark = [
    pytest.mark.e2e,  # a process of its own: torch has room for one such device in each
    pytest.mark.skipif(
        not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"),
        reason="this torch has no devices that are written in Python",
    ),
]

SETTINGS = """
import os
import sys
from pathlib import Path
import torch
from nerfstudio.scripts import train
from support import depth_recordings
from support.helpers import typed, write_capture_scene, write_sphere_scene
from support.single_precision import MESSAGE, NAME, single_precision
from eugen_fields.meshing.export_mesh import export_mesh
from eugen_fields.meshing.options import MeshOptions
from eugen_fields.runs.checkpoints import list_checkpoints

out = Path(sys.argv[1])
"""

DEVICE = """
with single_precision() as device:
    try:
        torch.ones(2, dtype=torch.float64).to(device)
    except TypeError as error:
        assert MESSAGE in str(error)
    else:
        raise AssertionError("float64 passed")
    made = lambda: torch.zeros(2, dtype=torch.float64, device=device)
    for make in (made, lambda: torch.ones(2, device=device).double()):
        try:
            make()
        except TypeError as error:
            assert MESSAGE in str(error)
        else:
            raise AssertionError("float64 passed")
    layer = torch.nn.Linear(3, 2).to(device)
    value = layer(torch.ones(4, 3, device=device)).sum()
    value.backward()
    assert layer.weight.grad.tolist() == [[4.0] * 3] * 2 and str(layer.weight.grad.device) == f"{device}:0"
print("the device is as it should be")
"""

TRAININGS = """
size = ("--max-num-iterations", 4, "--steps-per-eval-image", 2, "--steps-per-eval-batch", 2, "--steps-per-save", 2)
small = (*size, "--pipeline.target-num-samples", 512, "--pipeline.model.grid-resolution", 12,
         "--pipeline.model.grid-warmup-steps", 1, "--pipeline.model.grid-update-interval", 1,
         "--pipeline.model.samples-per-diagonal", 24)
sphere = write_sphere_scene(out / "sphere", size=12, train=5, test=1)
capture = write_capture_scene(out / "capture", size=12, count=5)
stream = depth_recordings.write_transforms(out / "stream", count=4)
dense = ("--pipeline.model.dense-start", 0.5)
for name, method, scene, *flags in (
    ("residual", "eugen-nerf-tiny", sphere, *small),
    ("eugen", "eugen-nerf-tiny", sphere, *small, *dense, "--pipeline.model.layer", "eugen"),
    ("prp", "eugen-nerf-tiny", sphere, *small, *dense, "--pipeline.model.layer", "prp"),
    ("low-rank", "eugen-nerf-tiny", sphere, *small, *dense, "--pipeline.model.layer", "low-rank"),
    ("snnk", "eugen-nerf-tiny", sphere, *small, "--pipeline.model.layer", "snnk"),
    ("scales", "eugen-mipnerf-tiny", sphere, *small, *dense, "--pipeline.model.layer", "eugen",
     "--pipeline.datamanager.num-scales", 2),
    ("capture", "eugen-mipnerf-tiny", capture, *small, "--pipeline.model.camera-optimizer.mode", "SO3xR3",
     "nerfstudio-data", "--eval-mode", "all"),
    ("isdf", "eugen-isdf-tiny", stream, *size),
):
    config = typed(method, scene, out / name, *flags)
    config.machine.device_type = NAME
    with single_precision() as device:
        train.main(config)
        folder = config.get_base_dir()
        assert [step for step, _ in list_checkpoints(folder / "nerfstudio_models")] == [2, 3], name
        where = {"level": 0.2, "region": "box"} if name == "isdf" else {"level": 0.1}
        options = MeshOptions(resolution=12, **where)
        export_mesh(run=folder, output=out / f"{name}.ply", device=device, step=None, **vars(options))
    print(name, "trained")
"""

# Autograd's thread of the device asks for Python once more as the interpreter ends, which then ends the thread in the
# midst of C++, and with it the process ("terminate called without an active exception"): leave before that.
LEAVE = """
sys.stdout.flush()
os._exit(0)
"""


def run(code: str, tmp_path: Path) -> str:
    environment = os.environ | {"PYTHONPATH": f"{PROJECT}:{PROJECT / 'viewer'}:{PROJECT / 'tests'}", "COLUMNS": "200"}
    words = [sys.executable, "-W", "ignore", "-c", SETTINGS + code + LEAVE, str(tmp_path)]
    result = subprocess.run(words, capture_output=True, text=True, env=environment, timeout=900)
    assert result.returncode == 0, (result.stdout + result.stderr)[-5000:]
    return result.stdout


def test_the_stand_in_refuses_float64_and_computes_otherwise(tmp_path: Path) -> None:
    assert "the device is as it should be" in run(DEVICE, tmp_path)


def test_every_kind_of_method_trains_and_is_exported_without_float64(tmp_path: Path) -> None:
    printed = run(TRAININGS, tmp_path)
    for name in ("residual", "eugen", "prp", "low-rank", "snnk", "scales", "capture", "isdf"):
        assert f"{name} trained" in printed
