"""What can be asked of a transfer: the options of eugen-transfer, and the check that they go together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from eugen_fields.errors import InputError, show_number
from eugen_fields.layers.kinds import options_from
from eugen_fields.layers.names import ReplacementName

_RANGES = (
    ("num_samples", 1, 100_000_000),
    ("num_features", 1, 65_536),
    ("rank", 0, 16_384),
    ("best", 0, 1000),
    ("ridge", 0, 1e30),
    ("finetune_steps", 0, 10_000_000),
    ("finetune_rate", 0, 1e30),
    ("finetune_samples", 1, 100_000_000),
    ("grid_resolution", 2, 512),
    ("seed", -(1 << 62), 1 << 62),
)
"""Least and most of each option; what lies above is a slip of the keyboard."""


@dataclass
class TransferOptions:
    """Fits new layers to those of a trained dense run in closed form, on rays of its training cameras (no image is
    read), and writes a run that ns-eval, ns-viewer, ns-export and eugen-export open like any other."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Folder of the trained run: one of ours with layer dense, or of nerfstudio's vanilla-nerf."""
    layer: ReplacementName = "eugen"
    """Kind of the new layers."""
    num_features: int = 64
    """Random features per order of EUGen and SNNK layers (m); the rank of low-rank layers where --rank is 0."""
    rank: int = 0
    """Rank of low-rank layers, or of the extra low-rank term of PRP layers."""
    matrix: Literal["gaussian", "ternary", "orthogonal", "hadamard"] = "orthogonal"
    """Fixed random matrix of PRP layers."""
    replace: tuple[int, ...] | None = None
    """Trunk layers to replace (0 is the first). Default: every hidden layer but the first, or the only one."""
    best: int = 0
    """Number of layers to replace, chosen as those that change the network's output least when replaced alone. 0: the
    layers of --replace."""
    projections: Literal["neurons", "mixed", "principal", "random"] = "neurons"
    """Projections of EUGen layers: picked among the trained layer's neurons, among those and linear functions of its
    inputs, from the principal directions of its inputs, or random."""
    sequential: bool = True
    """Fit each layer on the new network's own activations. False: on the trained one's."""
    ridge: float = 1e-6
    """Penalty of the regression, relative to the mean square of the features."""
    num_samples: int = 100_000
    """Number of samples that the layers are fitted to, on rays of training cameras where the field has density."""
    finetune_steps: int = 0
    """Steps of gradient descent on the new layers afterwards: both fields render training rays and the difference
    falls. 0: the closed form alone."""
    finetune_rate: float = 4e-3
    """Learning rate of the fine-tuning."""
    finetune_samples: int = 1 << 13
    """Samples per step of the fine-tuning."""
    grid_resolution: int = 128
    """Cells along each axis of the occupancy grid that a vanilla-nerf run is given."""
    output_dir: Path | None = None
    """Folder of the new run, which is OUTPUT_DIR/<experiment>/<method>/<name>. Default: beside the old run."""
    name: str | None = None
    """Name of the new run. Default: the name of the old run with the layer kind appended."""
    seed: int = 0
    """Seed of the rays, of the layers' random numbers and of the fine-tuning."""
    device: str | None = None
    """Device of the fit, such as cpu or cuda:0. Default: CUDA if there is one, else the CPU."""
    step: int | None = None
    """Training step of the checkpoint to open. Default: the newest."""

    def layer_options(self) -> dict[str, Any]:
        """Options of the new layers for their kind."""
        return options_from(self, self.layer)

    def check(self) -> None:
        """Raises InputError where an option is out of range or two of them do not go together."""
        if self.best and self.replace is not None:
            raise InputError("--best and --replace both say which layers to replace; give one of them.")
        for name, least, most in _RANGES:
            value = getattr(self, name)
            if value < least:
                raise InputError(f"--{name.replace('_', '-')} is {show_number(value)}; it must be at least {least}.")
            if not value <= most:  # NaN is not
                raise InputError(f"--{name.replace('_', '-')} is {show_number(value)}; it must be at most {most}.")
