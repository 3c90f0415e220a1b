"""How far networks are above or below dense networks of equal cost."""

from __future__ import annotations

import bisect
import math
import statistics
from dataclasses import dataclass, field, replace
from typing import Any

from eugen_fields.benchmark.quality.frontier.frontier_contestants import NETWORKS, RIVALS, Family, Network, known
from eugen_fields.benchmark.quality.scenes.scenes_report import by_scene, grouped

Run = dict[str, Any]
"""The entry of one trained network in the JSON file."""
Line = list[tuple[float, float]]
"""Costs and PSNR (dB) of the networks of a family, the cheapest first."""

COSTS = {"multiplications": "multiplications per sample", "parameters": "parameters", "compact_bytes": "bytes"}
"""What is counted, by its name in the JSON file."""
ON_LINE = 0.05
"""PSNR in dB by which a network that counts as being on the line may be below it."""


@dataclass(frozen=True)
class Point:
    """A network on one scene: means over its seeds."""

    title: str
    network: Network
    cost: int
    runs: list[Run]
    fast: bool = False
    """Whether multiplications are those with fast Hadamard transforms."""

    @property
    def psnr(self) -> float:
        """Mean over all seeds, of trainings that collapsed as well."""
        return statistics.mean(run["psnr"] for run in self.runs)

    @property
    def collapsed(self) -> int:
        """Seeds on which the training collapsed."""
        return sum(run["collapsed"] for run in self.runs)


@dataclass(frozen=True)
class Gap:
    """PSNR above a line, in dB."""

    value: float
    exact: bool = True
    """False for a network that costs more than all of the line, which is set against its last one: at equal cost the
    gap is this or less."""
    collapsed: int = 0
    """Seeds on which the training collapsed; they count in the value."""

    @property
    def below(self) -> bool:
        """Whether the network is surely below the line."""
        return self.value < -ON_LINE

    @property
    def decided(self) -> bool:
        """Whether it is known if the network is on the line or above it."""
        return self.exact or self.below

    @property
    def reached(self) -> bool:
        """Whether it is on the line or above it."""
        return self.exact and not self.below

    def __str__(self) -> str:
        mark = f" ({self.collapsed} collapsed)" if self.collapsed else ""
        return f"{'' if self.exact else '≤ '}{self.value:+.2f}{mark}"


@dataclass
class Verdict:
    """A network against a line on all scenes."""

    title: str
    cost: int
    gaps: dict[str, Gap | None] = field(default_factory=dict)
    """By scene; None where the network is cheaper than all of the line."""

    @property
    def mean(self) -> float | None:
        """Mean of the exact gaps."""
        values = [gap.value for gap in self.gaps.values() if gap is not None and gap.exact]
        return statistics.mean(values) if values else None

    @property
    def decided(self) -> int:
        return sum(gap is not None and gap.decided for gap in self.gaps.values())

    @property
    def reached(self) -> int:
        return sum(gap is not None and gap.reached for gap in self.gaps.values())


def by_setting(runs: list[Run]) -> dict[str, list[Run]]:
    """Runs of contestants as they are today, by what all runs of a comparison share, in words."""

    def setting(run: Run) -> str:
        count = run["views_scored"]
        views = [f"{count} test view{'s' if count > 1 else ''}"] if count else []
        words = (f"{run['trained_steps']:,} steps", f"images at most {run['size']} wide", *views, *run["options"])
        return ", ".join(words)

    return grouped(known(runs), setting)


def points(runs: list[Run], cost: str) -> list[Point]:
    """The networks of one setting and scene, the cheapest first.

    At equal multiplications networks with Hadamard matrices come twice: with these multiplied like any other matrix, as
    is fastest at the widths here, and with fast transforms.
    """
    found = []
    for name, group in grouped(runs, lambda run: run["contestant"]).items():
        network = NETWORKS[name]
        found.append(Point(network.title, network, group[0][cost], group))
        fewer = group[0]["transform_multiplications"]
        if cost == "multiplications" and fewer != group[0][cost]:
            found.append(Point(f"{network.title}, fast transforms", network, fewer, group, fast=True))
    return sorted(found, key=lambda point: point.cost)


def line(of: list[Point], family: Family) -> Line:
    """The networks of a family: means over the seeds that did not collapse, so that collapses of rivals help nobody."""
    found = []
    for point in of:
        values = [run["psnr"] for run in point.runs if not run["collapsed"]]
        if point.network.family == family and values:
            found.append((point.cost, statistics.mean(values)))
    return sorted(found)


def gap(cost: float, psnr: float, along: Line) -> Gap | None:
    """PSNR above a line at this cost, on straight lines over the logarithm of the cost; None where there is no line, or
    nothing on it as cheap."""
    costs = [place for place, _ in along]
    if not along or cost < costs[0]:
        return None
    if cost > costs[-1]:
        return Gap(psnr - along[-1][1], exact=False)
    index = bisect.bisect_left(costs, cost)
    if costs[index] == cost:
        return Gap(psnr - along[index][1])
    (low, low_psnr), (high, high_psnr) = along[index - 1], along[index]
    share = math.log(cost / low) / math.log(high / low)
    return Gap(psnr - (low_psnr + share * (high_psnr - low_psnr)))


def verdicts(runs: list[Run], cost: str, family: Family) -> list[Verdict]:
    """All networks of one setting but dense ones against a family of dense ones, the best first; none where no network
    of the family was trained."""
    found: dict[str, Verdict] = {}
    for scene, group in by_scene(runs).items():
        of_scene = points(group, cost)
        along = line(of_scene, family)
        for point in of_scene:
            if along and point.network.family not in RIVALS:
                verdict = found.setdefault(point.title, Verdict(point.title, point.cost))
                found_gap = gap(point.cost, point.psnr, along)
                verdict.gaps[scene] = found_gap and replace(found_gap, collapsed=point.collapsed)

    def order(verdict: Verdict) -> tuple[int, float]:
        return -verdict.reached, math.inf if verdict.mean is None else -verdict.mean

    return sorted(found.values(), key=order)
