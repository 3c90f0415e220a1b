"""Train a small dense network, then replace its hidden layers by EUGen layers without training again.

One learns what layer-wise transfer costs and what it buys: the weights of the new layers come from one least-squares
problem each, in well under a second. Projections picked among the trained network's own neurons lose far less than
random ones, and a short fine-tuning of the new layers wins back much of the rest. Errors are root mean squares on new
points, divided by the spread of the function; multiplications are those of the folded network for one point.
"""

import time

import torch
from torch import Tensor

from eugen_fields.layers import MLP, transfer

WIDTH = 64
STEPS = 600
FINETUNE_STEPS = 200


def truth(x: Tensor) -> Tensor:
    """A wavy function of three coordinates, shape (N, 3) to (N, 1)."""
    return torch.sin(5 * x[:, :1]) * torch.cos(4 * x[:, 1:2]) + (3 * x[:, 2:] * x[:, :1]).sin()


def points(count: int) -> Tensor:
    return 2.0 * torch.rand(count, 3) - 1.0


def train() -> MLP:
    teacher = MLP(3, 5, WIDTH, 1, layer="dense", seed=0)
    optimizer = torch.optim.Adam(teacher.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for _ in range(STEPS):
        x = points(1024)
        loss = (teacher(x) - truth(x)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return teacher


def error(y: Tensor, target: Tensor) -> float:
    return float((y - target).square().mean().sqrt() / target.std())


@torch.no_grad()
def show(teacher: MLP) -> None:
    new = points(10_000)
    header = ("features", "projections", "fine-tuned", "vs truth", "vs teacher", "parameters", "multiplications", "s")
    print("{:>8} {:>12} {:>10} {:>9} {:>11} {:>11} {:>15} {:>5}".format(*header))
    row = "{:>8} {:>12} {:>10} {:9.3f} {:11.3f} {:11,} {:15,} {:5.1f}"
    for num_features in (WIDTH // 2, WIDTH // 4, WIDTH // 8):
        for projections, steps in (("random", 0), ("neurons", 0), ("neurons", FINETUNE_STEPS)):
            student, report = transfer(
                teacher,
                points(20_000),
                layer="eugen",
                num_features=num_features,
                projections=projections,
                finetune_steps=steps,
                batch_size=1024,
            )
            errors = error(student(new), truth(new)), error(student(new), teacher(new))
            sizes = report.parameters_after, report.multiplications_after
            seconds = report.fit_seconds + report.finetune_seconds
            print(row.format(num_features, projections, "yes" if steps else "no", *errors, *sizes, seconds))
    dense = report.parameters_before, report.multiplications_before
    print(row.format("dense", "", "", error(teacher(new), truth(new)), 0.0, *dense, 0.0))


if __name__ == "__main__":
    torch.manual_seed(0)
    start = time.perf_counter()
    teacher = train()
    print(f"Dense network of 5 layers of width {WIDTH}, trained in {time.perf_counter() - start:.1f} s")
    show(teacher)
