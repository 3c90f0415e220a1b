"""Prints the kernels that are generated for a method's field, with a comment where the code of each layer begins.

python -m eugen_fields.kernels.show eugen-nerf-tiny
python -m eugen_fields.kernels.show eugen-isdf --layer prp --training
"""

from __future__ import annotations

import copy
import sys
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Annotated, Any

import torch
import tyro

from eugen_fields.kernels.distance import distance_plan
from eugen_fields.kernels.field import FusedField, read_network
from eugen_fields.kernels.run.training import Plan
from eugen_fields.kernels.stages.live import live_stages
from eugen_fields.kernels.unsupported import Unsupported
from eugen_fields.kernels.write.networks import DistanceNetwork
from eugen_fields.layers import MLP

NOWHERE = torch.device("meta")
"""A device that computes nothing: kernels are written as for a GPU."""


@dataclass
class Show:
    """Print the generated kernels of a method."""

    method: tyro.conf.Positional[str]
    """Name of a method of ns-train, such as eugen-nerf-tiny."""
    layer: str | None = None
    """Kind of the replaced hidden layers, as for --pipeline.model.layer. None: that of the method."""
    training: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print the kernels that train the networks (backend fused) in place of those that evaluate the field."""


def untrained_field(method: str, layer: str | None = None) -> Any:
    """The field of a method on a cube.

    Raises:
        ValueError: an unknown method or layer kind.
    """
    # looked up where nerfstudio finds them, as nothing down here may import what is built on it
    found = {entry.name: entry for entry in entry_points(group="nerfstudio.method_configs")}
    ours = sorted(name for name, entry in found.items() if entry.value.startswith("eugen_fields."))
    if method not in ours:
        raise ValueError(f"there is no method {method!r}; choose one of {', '.join(ours)}")
    config: Any = copy.deepcopy(found[method].load().config.pipeline.model)
    if hasattr(config, "regime"):
        config.regime = "bounded"
    if layer is not None:
        config.layer = layer
    return config.build_field(torch.tensor([[-1.0] * 3, [1.0] * 3]))


def inference_sources(field: Any) -> dict[str, str]:
    """Sources of the kernels that evaluate a field, by what they compute.

    Raises:
        Unsupported: there are none for it.
    """
    return FusedField(field, torch.float16).sources()


def training_sources(field: Any) -> dict[str, str]:
    """Sources of the kernels that train the networks of a field, by network and what they compute.

    Raises:
        Unsupported: there are none for it.
    """
    if hasattr(field, "sdf"):
        network = read_network(field)
        assert isinstance(network, DistanceNetwork)
        plan = distance_plan(network, live_stages(field.trunk), field.trunk.in_dim, torch.bfloat16, NOWHERE)
        return {f"trunk: {what}": source for what, source in plan.sources(input_gradient=False).items()}
    sources = {}
    for name, mlp in field.named_children():
        if type(mlp) is MLP:
            plan = Plan(live_stages(mlp), mlp.in_dim, torch.bfloat16, NOWHERE)
            found = plan.sources(input_gradient=name != "trunk")
            sources |= {f"{name}: {what}": source for what, source in found.items()}
    return sources


def main() -> None:
    """Prints, or says in one line why there is nothing to print."""
    options = tyro.cli(Show, prog="python -m eugen_fields.kernels.show", description=__doc__)
    try:
        field = untrained_field(options.method, options.layer)
        sources = training_sources(field) if options.training else inference_sources(field)
    except Unsupported as error:
        other = "" if options.training else "; --training prints the kernels that train its networks"
        sys.exit(f"error: no kernel is generated for {options.method}: {error}{other}.")
    except ValueError as error:
        sys.exit(f"error: {error}.")
    for what, source in sources.items():
        print(f"# {what}\n\n{source}\n")


if __name__ == "__main__":
    main()
