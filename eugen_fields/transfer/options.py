"""What can be asked of a transfer: the options of eugen-transfer, and the check that they go together."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from eugen_fields.errors import InputError, show_number
from eugen_fields.layers.kinds import layer_kind, options_from
from eugen_fields.layers.names import ReplacementName

NUM_FEATURES = 64
"""Features of a new layer where neither --num-features nor a budget says how many."""
FINETUNE_STEPS = 1000
"""Steps of fine-tuning with a budget, where --finetune-steps does not say how many."""

_RANGES = (
    ("multiplications", 1, 1 << 62),
    ("bytes", 1, 1 << 62),
    ("num_samples", 1, 100_000_000),
    ("num_features", 1, 65_536),
    ("rank", 0, 16_384),
    ("best", 0, 1000),
    ("ridge", 0, 1e30),
    ("finetune_steps", 0, 10_000_000),
    ("finetune_rate_factor", 1e-30, 1e30),
    ("finetune_samples", 1, 100_000_000),
    ("grid_resolution", 2, 512),
    ("seed", -(1 << 62), 1 << 62),
)
"""Least and most of each option that is given; what lies above is a slip of the keyboard."""


@dataclass
class TransferOptions:
    """Fits new layers to those of a trained dense run in closed form, on rays of its training cameras (no image is
    read), and writes a run that ns-eval, ns-viewer, ns-export and eugen-export open like any other."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Folder of the trained run: one of ours with layer dense, or of nerfstudio's vanilla-nerf."""
    multiplications: int | None = None
    """Budget: most multiplications per sample of the folded networks. The layers to replace and their number of
    features are searched for the least predicted error. Leave out --num-features and --best."""
    bytes: int | None = None
    """Budget: most bytes of the numbers of the field in float16, trained or folded, whichever are fewer. It is searched
    for as with --multiplications."""
    layer: ReplacementName = "eugen"
    """Kind of the new layers."""
    num_features: int | None = None
    """Random features per order of EUGen and SNNK layers (m); the rank of low-rank layers where --rank is 0. Default:
    64."""
    norm: bool = False
    """Append the norm of the input of EUGen layers as a column. Projections that are taken from the trained layer give
    that column no weight at first, so that without fine-tuning it costs multiplications and changes nothing."""
    rank: int = 0
    """Rank of low-rank layers, or of the extra low-rank term of PRP layers."""
    matrix: Literal["gaussian", "ternary", "orthogonal", "hadamard"] = "orthogonal"
    """Fixed random matrix of PRP layers."""
    replace: tuple[int, ...] | None = None
    """Trunk layers to replace (0 is the first). Default: every hidden layer but the first, or the only one. With a
    budget: the layers that may be replaced, by default all hidden ones."""
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
    finetune_steps: int | None = None
    """Steps of gradient descent on the whole new network afterwards: both fields render training rays and the
    difference falls. 0: the closed form alone. Default: 1000 with a budget in a scene with bounds, else 0."""
    finetune_rate_factor: float = 1.0
    """Factor on the learning rates of the fine-tuning, which are a quarter of those of a training of so many steps with
    the optimiser of the run's method."""
    finetune_samples: int = 1 << 13
    """Samples per step of the fine-tuning."""
    grid_resolution: int = 128
    """Cells along each axis of the occupancy grid that a vanilla-nerf run is given."""
    output_dir: Path | None = None
    """Folder of the new run, which is OUTPUT_DIR/<experiment>/<method>/<name>. Default: beside the old run."""
    name: str | None = None
    """Name of the new run. Default: the name of the old run with the layer kind and its number of features appended."""
    seed: int = 0
    """Seed of the rays, of the layers' random numbers and of the fine-tuning."""
    device: str | None = None
    """Device of the fit, such as cpu or cuda:0. Default: CUDA if there is one, else the CPU."""
    step: int | None = None
    """Training step of the checkpoint to open. Default: the newest."""

    @property
    def budget(self) -> str | None:
        """Name of the option that is the budget, or None without one."""
        return next((name for name in ("multiplications", "bytes") if getattr(self, name) is not None), None)

    @property
    def steps(self) -> int:
        """Steps of the fine-tuning."""
        default = 0 if self.budget is None else FINETUNE_STEPS
        return default if self.finetune_steps is None else self.finetune_steps

    def layer_options(self) -> dict[str, Any]:
        """Options of the new layers for their kind."""
        filled = dataclasses.replace(self, num_features=self.num_features or NUM_FEATURES)
        return options_from(filled, self.layer)

    def with_size(self, size: int | None) -> TransferOptions:
        """These options with a size of the new layers (num_features, rank) in place of a budget; None for kinds
        without."""
        chosen = {} if size is None else {"num_features": size}
        return dataclasses.replace(self, multiplications=None, bytes=None, finetune_steps=self.steps, **chosen)

    def check(self) -> None:
        """Raises InputError where an option is out of range or two of them do not go together."""
        if self.best and self.replace is not None:
            raise InputError("--best and --replace both say which layers to replace; give one of them.")
        if self.name is not None and (Path(self.name).name != self.name or self.name in ("", "..")):
            raise InputError(f"--name is {self.name!r}; it must be the name of one folder. --output-dir is its place.")
        for name, least, most in _RANGES:
            value, flag = getattr(self, name), f"--{name.replace('_', '-')}"
            if value is None:
                continue
            if value < least:
                raise InputError(f"{flag} is {show_number(value)}; it must be at least {least}.")
            if not value <= most:  # NaN is not
                raise InputError(f"{flag} is {show_number(value)}; it must be at most {most}.")
        if self.norm and "norm" not in layer_kind(self.layer).options:
            raise InputError(f"--norm is an option of EUGen layers, but --layer is {self.layer}; leave it out.")
        if self.budget is not None:
            self._check_budget(f"--{self.budget}")

    def _check_budget(self, budget: str) -> None:
        if self.multiplications is not None and self.bytes is not None:
            raise InputError("--multiplications and --bytes are both budgets; give one of them.")
        if self.num_features is not None:
            raise InputError(f"{budget} chooses the number of features; leave out --num-features.")
        if self.rank and layer_kind(self.layer).size == "rank":
            raise InputError(f"{budget} chooses the rank; leave out --rank.")
        if self.best:
            raise InputError(f"{budget} chooses the layers to replace; leave out --best, or give them with --replace.")
