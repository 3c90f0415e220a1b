"""The NeRF model in training: what must hold whatever the scene does."""

from __future__ import annotations

from pathlib import Path

import torch
from nerfstudio.engine.callbacks import TrainingCallbackLocation

from eugen_fields.benchmark.quality.train import make_config, radiance_model


def test_training_goes_on_from_an_empty_grid(sphere_scene: Path, tmp_path: Path) -> None:
    config = make_config(
        "eugen-nerf-tiny", sphere_scene, tmp_path, model_options={"grid_resolution": 16, "visual_hull": False}
    )
    config.prepare()
    torch.manual_seed(0)
    trainer = config.setup(local_rank=0, world_size=1)
    trainer.setup()
    model, sampler = radiance_model(trainer), trainer.pipeline.datamanager.train_pixel_sampler
    start = sampler.num_rays_per_batch
    density_bias = model.field.trunk.layers[-1].bias
    with torch.no_grad():
        density_bias[0] = -200.0  # exp(-200) is 0 in float32: nothing anywhere
    sampler.set_num_rays_per_batch(config.pipeline.max_num_rays)
    (update,) = (c for c in trainer.callbacks if TrainingCallbackLocation.AFTER_TRAIN_ITERATION in c.where_to_run)
    assert update.update_every_num_iters == model.config.grid_update_interval
    update.func(1000)
    assert model.grid.occupied.all()
    outputs, losses, metrics = trainer.pipeline.get_train_loss_dict(1001)
    assert len(outputs["rgb"]) == start, "the ray budget is that of a full grid again"
    assert metrics["num_samples_per_batch"] > 0
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert torch.equal(outputs["accumulation"], torch.zeros_like(outputs["accumulation"]))

    with torch.no_grad():
        density_bias[0] = 0.0
    assert model.update_grid(1016) is False
    before = model.field.trunk.layers[0].weight.clone()
    trainer.train_iteration(1017)
    assert not torch.equal(before, model.field.trunk.layers[0].weight)
    assert torch.isfinite(model.field.trunk.layers[0].weight).all()
