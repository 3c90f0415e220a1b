"""ns-train with a trainer that records what the distributed test compares.

Usage: distributed_probe.py DIR fork|spawn FLAGS...
"""

from __future__ import annotations

import functools
import sys
from pathlib import Path

import torch
import torch.multiprocessing as mp
import tyro
from nerfstudio.configs.method_configs import AnnotatedBaseConfigUnion
from nerfstudio.scripts import train
from nerfstudio.utils import comms

from eugen_fields.training.trainer import FieldTrainer


class ProbedTrainer(FieldTrainer):
    """Writes rank<N>.pt at the end: weights and buffers, and one batch's gradients, this process's own and averaged."""

    def train(self) -> None:
        super().train()
        model = self.pipeline.model
        self.pipeline.train()
        rays, batch = self.pipeline.datamanager.next_train(0)

        def gradients(network) -> dict[str, torch.Tensor]:
            torch.manual_seed(7 + comms.get_rank())  # the same jitter and background in both passes
            model.zero_grad(set_to_none=False)
            outputs = network(rays)
            sum(model.get_loss_dict(outputs, batch).values()).backward()
            return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}

        own = gradients(model)
        averaged = gradients(self.pipeline._model)
        folder = Path(self.config.project_name)
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(
            {
                "weights": dict(model.state_dict()),
                "origins": rays.origins,
                "own": own,
                "averaged": averaged,
            },
            folder / f"rank{comms.get_rank()}.pt",
        )


if __name__ == "__main__":
    config = tyro.cli(AnnotatedBaseConfigUnion, args=sys.argv[3:])
    mp.spawn = functools.partial(mp.start_processes, start_method=sys.argv[2])
    config._target = ProbedTrainer
    config.project_name = sys.argv[1]
    train.main(config)
