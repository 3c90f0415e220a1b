"""A checkpoint trained, reloaded in a new process, renders bit-identical images, for every layer kind."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import PROJECT

from eugen_fields.benchmark.train import make_config, train_run

_RENDER = """
import sys, hashlib, torch
from pathlib import Path
from nerfstudio.utils.eval_utils import eval_setup
_, pipeline, _, _ = eval_setup(Path(sys.argv[1]))
camera, _ = next(iter(pipeline.datamanager.fixed_indices_eval_dataloader))
outputs = pipeline.model.get_outputs_for_camera(camera)
for name in ("rgb", "depth", "accumulation", "normals"):
    print(name, hashlib.sha256(outputs[name].numpy().tobytes()).hexdigest())
"""


@pytest.mark.parametrize(
    ("layer", "options"),
    [
        ("dense", {}),
        ("eugen", {}),
        ("eugen", {"train_projections": False, "order": 2, "replace": (2,)}),
        ("prp", {"matrix": "ternary"}),
        ("prp", {"rank": 2}),
        ("low-rank", {}),
    ],
)
def test_reload_is_bit_identical(layer: str, options: dict, sphere_scene: Path, tmp_path: Path) -> None:
    small = {"grid_resolution": 16, "grid_warmup_steps": 4, "grid_update_interval": 4}
    config = make_config(
        "eugen-nerf-tiny", sphere_scene, tmp_path, layer=layer, steps=12, model_options=options | small
    )
    config.pipeline.target_num_samples = 4096
    trainer, _ = train_run(config, progress=False)
    trainer.pipeline.eval()
    camera, _ = next(iter(trainer.pipeline.datamanager.fixed_indices_eval_dataloader))
    outputs = trainer.pipeline.model.get_outputs_for_camera(camera)
    expected = [
        f"{name} {hashlib.sha256(outputs[name].numpy().tobytes()).hexdigest()}"
        for name in ("rgb", "depth", "accumulation", "normals")
    ]
    result = subprocess.run(
        [sys.executable, "-c", _RENDER, str(config.get_base_dir() / "config.yml")],
        capture_output=True, text=True, timeout=300, cwd=PROJECT,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-3000:]
    printed = [line for line in result.stdout.splitlines() if line.split(" ")[0] in outputs and len(line) > 64]
    assert printed == expected
    assert torch.isfinite(outputs["rgb"]).all()
