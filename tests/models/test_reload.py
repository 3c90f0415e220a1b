"""A checkpoint trained, reloaded in a new process, renders bit-identical images, for every layer kind and model."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from nerfstudio.cameras.camera_optimizers import CameraOptimizerConfig
from support.helpers import PROJECT

from eugen_fields.benchmark.quality.train import make_config, train_run

pytestmark = pytest.mark.e2e

NAMES = ("rgb", "depth", "accumulation", "normals")
NERF, MIP, PLANES = "eugen-nerf-tiny", "eugen-mipnerf-tiny", "eugen-planes-tiny"
GRID = {"grid_resolution": 16, "grid_warmup_steps": 4, "grid_update_interval": 4}
SMALL = {
    NERF: GRID,
    MIP: GRID | {"layer_width": 32, "num_features": 8, "proposal_samples": (16,), "num_samples": 8, "anneal_steps": 4},
    PLANES: GRID | {"plane_resolutions": (8, 24), "proposal_resolutions": (8,), "num_features": 8, "anneal_steps": 4},
}
CASES = {
    "dense": (NERF, "dense", {}),
    "eugen": (NERF, "eugen", {}),
    "eugen, fixed projections, order 2": (NERF, "eugen", {"train_projections": False, "order": 2, "replace": (2,)}),
    "prp": (NERF, "prp", {"matrix": "ternary"}),
    "prp with a low-rank term": (NERF, "prp", {"rank": 2}),
    "low-rank": (NERF, "low-rank", {}),
    "snnk with fixed projections": (NERF, "snnk", {"train_projections": False}),
    "mip, eugen with fixed projections": (MIP, "eugen", {"train_projections": False}),
    "mip, prp, unbounded, codes": (MIP, "prp", {"regime": "unbounded", "appearance_dim": 2, "matrix": "hadamard"}),
    "planes, dense": (PLANES, "dense", {}),
    "planes, eugen with fixed projections": (PLANES, "eugen", {"train_projections": False, "num_layers": 2}),
    "planes, prp, unbounded, codes": (PLANES, "prp", {"regime": "unbounded", "appearance_dim": 2}),
    "mip, corrected cameras": (MIP, "dense", {"camera_optimizer": CameraOptimizerConfig(mode="SO3xR3")}),
}
_RENDER = """
import hashlib, json, sys
from pathlib import Path
from nerfstudio.utils.eval_utils import eval_setup
found = {}
for path in sys.argv[2:]:
    _, pipeline, _, _ = eval_setup(Path(path))
    camera, _ = next(iter(pipeline.datamanager.fixed_indices_eval_dataloader))
    outputs = pipeline.model.get_outputs_for_camera(camera)
    names = ("rgb", "depth", "accumulation", "normals")
    found[path] = [hashlib.sha256(outputs[name].numpy().tobytes()).hexdigest() for name in names]
Path(sys.argv[1]).write_text(json.dumps(found))
"""


@pytest.fixture(scope="module")
def renders(sphere_scene: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[list[str], list[str]]]:
    """For each case, hashes of a test view as rendered where it was trained, and in a new process."""
    folder = tmp_path_factory.mktemp("reload")
    here, configs = {}, {}
    for index, (name, (method, layer, options)) in enumerate(CASES.items()):
        output = folder / str(index)
        options = options | SMALL[method]
        config = make_config(method, sphere_scene, output, layer=layer, steps=8, model_options=options)
        config.pipeline.target_num_samples = 1024
        trainer, _ = train_run(config, progress=False)
        trainer.pipeline.eval()
        camera, _ = next(iter(trainer.pipeline.datamanager.fixed_indices_eval_dataloader))
        outputs = trainer.pipeline.model.get_outputs_for_camera(camera)
        assert torch.isfinite(outputs["rgb"]).all()
        here[name] = [hashlib.sha256(outputs[key].numpy().tobytes()).hexdigest() for key in NAMES]
        configs[name] = str(config.get_base_dir() / "config.yml")
    found = folder / "found.json"
    result = subprocess.run(
        [sys.executable, "-c", _RENDER, str(found), *configs.values()],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=PROJECT,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    there = json.loads(found.read_text())
    return {name: (here[name], there[configs[name]]) for name in CASES}


@pytest.mark.parametrize("name", CASES)
def test_reload_is_bit_identical(name: str, renders: dict[str, tuple[list[str], list[str]]]) -> None:
    here, there = renders[name]
    assert here == there
    others = [other for case, (other, _) in renders.items() if case != name]
    assert here[0] not in [other[0] for other in others], "each kind renders an image of its own"
