"""What is timed of an iSDF map: a training step, and a query of points."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from eugen_fields.benchmark.common.contestants import parse_options
from eugen_fields.benchmark.quality.train import make_config


def mapping_calls(
    method: str, data: Path, kind: str, device: str, *, query_points: int, tile: int, seed: int
) -> dict[str, Callable[[], Any]]:
    """The calls "step" and "query" of an untrained map that knows five frames of a recording.

    Args:
        method: a key of METHODS.
        data: folder of the recording.
        kind: layer kind, with options behind colons.
        query_points: points of a query, evenly distributed over the map's box.
        tile: points that a query evaluates at once.
        seed: of the network and the points.
    """
    layer, *options = kind.split(":")
    model_options = parse_options(options)
    config = make_config(method, data, Path("outputs"), layer=layer, seed=seed, model_options=model_options)
    config.fill_in_optimizers()
    torch.manual_seed(seed)
    pipeline: Any = config.pipeline.setup(device=device)
    pipeline.train()
    group: Any = config.optimizers["fields"]["optimizer"]
    optimizer = group.setup(params=pipeline.get_param_groups()["fields"])
    manager, model = pipeline.datamanager, pipeline.model
    manager.clock.before_step(0, lambda frame: 0.0)
    # five frames of the stream are known, as after a while of mapping
    manager.clock.keyframes = torch.linspace(0, len(manager.stream) - 1, 5).long().tolist()

    def step() -> None:
        bundle, batch = manager.next_train(0)
        loss = sum(model.get_loss_dict(model(bundle), batch).values())
        optimizer.zero_grad()
        loss.backward()  # type: ignore[union-attr]
        optimizer.step()

    generator = torch.Generator().manual_seed(seed)
    places = torch.rand(query_points, 3, generator=generator).to(device)
    points = model.field.aabb[0] + places * (model.field.aabb[1] - model.field.aabb[0])
    folded = model.field.folded()
    return {"step": step, "query": lambda: folded.evaluate(points, tile)}
