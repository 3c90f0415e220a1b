"""The networks of `eugen-bench frontier`: families of one kind, each at a few sizes.

Dense networks of several widths are what all others are held against: nothing is simpler than a narrower dense network,
and an EUGen chain folds into little else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from eugen_fields.benchmark.common.contestants import Contestant, contestant
from eugen_fields.errors import InputError
from eugen_fields.methods import METHODS

METHOD = "eugen-nerf-tiny"
"""Method that trains all of them."""


@dataclass(frozen=True)
class Family:
    """Networks that differ in one size, and how plots show them."""

    title: str
    color: int
    """Index in matplotlib's tab10."""
    marker: str
    line: str = ""
    """Style of the line through the members; empty: none."""


@dataclass(frozen=True)
class Network:
    """A contestant: one member of a family."""

    name: str
    family: Family
    size: str
    """What tells it from the other members, for readers; may be empty."""
    layer: str
    """Layer kind with flags of the model behind colons, as `eugen-bench train --layer` takes it."""
    teacher_share: float = 0.0
    """Share of the steps for which a dense network of the method's width trains, by a schedule of its own. The layers
    are then fitted to it, and the other steps fine-tune them on its renders. 0: trained on the images alone."""

    @property
    def title(self) -> str:
        """How tables call it."""
        return ", ".join(filter(None, (self.family.title, self.size)))

    @property
    def parsed(self) -> Contestant:
        """Layer kind and further flags of the model."""
        return contestant(self.layer, METHODS[METHOD].pipeline.model)


DENSE = Family("dense", 0, "o", "-")
DENSE_POSITION = Family("dense, position in every layer", 9, "s", "--")
CHAIN = Family("EUGen chain", 1, "o", ":")
CHAIN_POSITION = Family("EUGen, position in every hidden layer", 5, "s", ":")
RESIDUAL = Family("EUGen residual", 3, "D", ":")
DENSE_START = Family("EUGen, dense start", 4, "^", ":")
SHRUNK = Family("EUGen, shrunk from dense", 6, "v", ":")
PRP = Family("PRP", 2, "o")
HADAMARD = Family("PRP-Hadamard", 2, "P")
HYBRID = Family("dense and PRP in turn", 8, "X")
LOW_RANK = Family("low-rank", 7, "P")
SNNK = Family("SNNK", 7, "X")

RIVALS = (DENSE, DENSE_POSITION)
"""Families that all others are held against."""

_EVERY_LAYER = "skip_connections=1,2,3,4"
_HIDDEN_LAYERS = "skip_connections=1,2,3"
_FROM_SCRATCH = "dense_start=0"
_NEURONS = "norm=False:projection_bias=True"
"""Layers whose projections are neurons of a dense one, as a transfer leaves them."""

NETWORKS: dict[str, Network] = {
    network.name: network
    for network in (
        *(Network(f"dense-{w}", DENSE, f"{w} wide", f"dense:layer_width={w}") for w in (32, 48, 62, 80, 96)),
        Network("dense-128", DENSE, "128 wide", "dense"),
        *(
            Network(f"dense-position-{w}", DENSE_POSITION, f"{w} wide", f"dense:layer_width={w}:{_EVERY_LAYER}")
            for w in (24, 38, 56)
        ),
        *(
            Network(f"eugen-{m}", CHAIN, f"m = {m}", f"eugen:num_features={m}:{_FROM_SCRATCH}")
            for m in (16, 32, 48, 64)
        ),
        *(
            Network(
                f"eugen-position-{m}",
                CHAIN_POSITION,
                f"m = {m}",
                f"eugen:num_features={m}:{_HIDDEN_LAYERS}:{_FROM_SCRATCH}",
            )
            for m in (16, 32)
        ),
        *(Network(f"residual-{m}", RESIDUAL, f"m = {m}", f"eugen-residual:num_features={m}") for m in (16, 28, 40)),
        *(Network(f"start-{m}", DENSE_START, f"m = {m}", f"eugen:num_features={m}:dense_start=0.2") for m in (24, 40)),
        *(
            Network(f"shrunk-{m}", SHRUNK, f"m = {m}", f"eugen:num_features={m}:{_NEURONS}", teacher_share=2 / 3)
            for m in (24, 40)
        ),
        Network("prp", PRP, "128 wide", "prp"),
        Network("prp-hadamard", HADAMARD, "128 wide", "prp:matrix=hadamard"),
        Network("prp-hybrid", HYBRID, "128 wide", "hybrid-prp"),
        Network("low-rank-16", LOW_RANK, "rank 16", "low-rank:rank=16"),
        Network("snnk-32", SNNK, "m = 32", "snnk:num_features=32"),
    )
}
"""Every contestant by its name, in the order in which they are trained."""


def chosen_networks(names: tuple[str, ...] | None) -> list[Network]:
    """The contestants of these names; None: all.

    Raises:
        InputError: a name that there is none of.
    """
    for name in names or ():
        if name not in NETWORKS:
            raise InputError(f"--contestants {name}: there is no such contestant; there are {', '.join(NETWORKS)}.")
    return list(NETWORKS.values()) if names is None else [NETWORKS[name] for name in dict.fromkeys(names)]


def known(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Results of contestants as they are today; those of names or flags that are gone are left out."""
    layers = {network.name: network.layer for network in NETWORKS.values()}
    return [run for run in runs if layers.get(run["contestant"]) == run["layer"]]
