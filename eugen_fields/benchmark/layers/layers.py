"""`eugen-bench layers`: how fast the layer kinds run, against dense layers in the same network.

The JSON file holds a map `ratios`: the median time of the dense network over that of the other, each run in the way
that is fastest for it (backend and tile). Above 1 the other is faster. Its keys are

    device.mode.wWIDTH.KIND.mM      cpu.inference.w256.eugen.m32, cpu.training.w128.snnk.m64, cuda.inference.w256.prp

with .mM left out for kinds without a number of features; for low-rank layers it is the rank. A key names what differs
from the usual setting behind that: .field (NeRF's whole network in place of its trunk), .order2, .bfloat16, .b4096 (a
batch other than 65,536 points for inference and 8,192 for training), in this order.

A second map, `speedups`, holds eager over every other backend of the same network, under the same keys and the name
of the backend: cuda.inference.w256.dense.field.bfloat16.fused.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

from eugen_fields.benchmark.common import DrawnBenchmark, Results
from eugen_fields.benchmark.common.devices import choose_device, device_name
from eugen_fields.benchmark.common.timing import interleaved, spread
from eugen_fields.benchmark.layers import layers_report
from eugen_fields.errors import InputError
from eugen_fields.layers.kinds import LAYER_KINDS

if TYPE_CHECKING:
    TimedLayer: TypeAlias = str
else:
    TimedLayer = Literal[(*LAYER_KINDS, "prp-hadamard")]


@dataclass(kw_only=True)
class Layers(DrawnBenchmark):
    """Times networks of every layer kind in turn: inference of folded networks, and a forward and backward pass.

    The ratios in the JSON file are medians of dense over medians of the other, each at its fastest backend and tile."""

    layer: tuple[TimedLayer, ...] = (
        "dense",
        "eugen",
        "prp",
        "low-rank",
        "snnk",
    )
    """Layer kinds; dense must be among them. prp-hadamard has the matrix that fused kernels multiply by factors; layers
    of eugen-residual are as wide as their number of features, and each reads all before it."""
    width: tuple[int, ...] | None = None
    """Widths of the networks. Default: 64 128 256; with --quick 256 128."""
    num_features: tuple[int, ...] | None = None
    """Numbers of features of EUGen and SNNK layers, and ranks of low-rank ones. Default: 16 32 64 128; with --quick
    32 64."""
    order: tuple[int, ...] | None = None
    """Orders of EUGen layers. Default: 1 2; with --quick 1."""
    dtype: tuple[Literal["float32", "float16", "bfloat16", "float64"], ...] = ("float32",)
    """Number formats of the matrices."""
    batch: tuple[int, ...] | None = None
    """Points of one inference pass. Default: 65536 4096; with --quick 65536."""
    train_batch: tuple[int, ...] = (1 << 13,)
    """Points of one training step."""
    mode: tuple[Literal["inference", "training"], ...] = ("inference", "training")
    """Passes to time: inference of folded networks, or a training step, forward and backward."""
    network: tuple[Literal["trunk", "field"], ...] = ("trunk",)
    """Networks to time. trunk: NeRF's eight layers; field: NeRF's whole network, encodings and colour head included."""
    backend: tuple[Literal["eager", "tiled", "compiled", "fused", "tiny-cuda-nn"], ...] | None = None
    """Ways to run a network; those that do not serve one are passed over. Default: all; --quick leaves compiled out."""
    tile: tuple[int, ...] = (256, 512, 1024)
    """Rows of each tile of the tiled backend."""
    rounds: int | None = None
    """Measurements of each network. Default: 15; with --quick 7."""
    quick: bool = False
    """Few sizes and rounds: minutes on a CPU."""
    json: Path = Path("outputs/benchmark/layers.json")
    """JSON file of the results, of several calls if they name the same one. What is in it is not measured again."""

    defaults: ClassVar = {
        "width": (64, 128, 256),
        "num_features": (16, 32, 64, 128),
        "order": (1, 2),
        "batch": (1 << 16, 1 << 12),
        "rounds": 15,
        "backend": ("eager", "tiled", "compiled", "fused", "tiny-cuda-nn"),
    }
    quick_defaults: ClassVar = {
        "width": (256, 128),
        "num_features": (32, 64),
        "order": (1,),
        "batch": (1 << 16,),
        "rounds": 7,
        "backend": ("eager", "tiled", "fused", "tiny-cuda-nn"),
    }

    def measure(self, results: Results) -> tuple[str, list[Path]]:
        """Times what is missing in the results; the ratios of all of them stand in the file as well."""
        asked = []
        for key in self._groups(choose_device(self.device)):
            known = results.find(key) is not None
            asked.append(results.once(key, lambda key=key: {"results": self._time(key)}))
            if not known:
                results.document["ratios"] = layers_report.ratios(results.runs)
                results.document["speedups"] = layers_report.speedups(results.runs)
                results.save()
        return layers_report.markdown_table(asked), self.drawn(lambda path: layers_report.draw(asked, path))

    def check(self) -> None:
        self.require(1, "width", "num_features", "batch", "train_batch", "tile", "rounds")
        for order in self.order or ():
            if not 1 <= order <= 4:
                raise InputError(f"--order {order}: it must be 1, 2, 3 or 4.")
        if "dense" not in self.layer:
            raise InputError("--layer: dense must be among them, as the others are compared with it.")

    def _groups(self, device: str) -> list[dict[str, Any]]:
        """What is timed together, as keys of the results."""
        batches = {"inference": self.batch or (), "training": self.train_batch}
        same = {"device": device, "on": device_name(device), "layers": list(self.layer), "seed": self.seed}
        same |= {"num_features": list(self.num_features or ()), "backends": list(self.backend or ())}
        same |= {"tiles": list(self.tile), "rounds": self.rounds}
        groups = []
        for network, mode, width, order, dtype in itertools.product(
            self.network, self.mode, self.width or (), self.order or (), self.dtype
        ):
            for batch in batches[mode]:
                own = {"network": network, "mode": mode, "width": width, "order": order, "dtype": dtype, "batch": batch}
                groups.append(same | own)
        return groups

    def _time(self, group: dict[str, Any]) -> list[dict[str, Any]]:
        """One group: every kind in every way it can be run, in turn; ceiling_share is the share of the multiplications
        a second that the device does in a product of large matrices."""
        import torch
        from tqdm import tqdm

        from eugen_fields.benchmark.layers import layer_networks

        device, dtype, network = group["device"], getattr(torch, group["dtype"]), group["network"]
        inputs = layer_networks.make_inputs(network, group["batch"], device, dtype, self.seed)
        backends, calls, facts = tuple(group["backends"]), {}, {}
        for kind in layer_networks.kinds(self.layer, tuple(group["num_features"]), group["order"]):
            module = layer_networks.build(network, group["width"], kind, self.seed)
            about = {"layer": kind.layer, "m": kind.num_features} | layer_networks.sizes(module)
            if group["mode"] == "inference":
                ways = layer_networks.inference_calls(module, inputs, dtype, backends, self.tile)
            else:
                ways = layer_networks.training_calls(module, inputs, dtype, backends)
            for way, call in ways.items():
                backend, _, tile = way.partition(" ")
                facts[kind.name, way] = about | {"backend": backend, "tile": int(tile) if tile else None}
                calls[f"{kind.name} {way}"] = call
        if not calls:
            raise InputError(f"--backend {' '.join(backends)}: none of them runs on {device} in {group['dtype']}.")
        layer_networks.compile_kernels(calls)
        calls["ceiling"], ceiling = layer_networks.ceiling(device, dtype)
        name = f"{network} {group['mode']} width {group['width']}, {group['batch']} points, {group['dtype']}"
        with tqdm(total=len(calls) * (group["rounds"] + 2), desc=name, unit="call") as bar:
            times = interleaved(calls, device, group["rounds"], seed=self.seed, bar=bar)
        most = ceiling / spread(times["ceiling"])["median"]
        results = []
        for (kind_name, way), about in facts.items():
            ms = spread(times[f"{kind_name} {way}"], 1000.0)
            rate = 1000.0 * group["batch"] / ms["median"]
            speed = {"ms": ms, "points_per_second": rate}
            if group["mode"] == "inference":
                speed["ceiling_share"] = rate * about["multiplications"] / most
            results.append({"kind": kind_name, **about, **speed})
        return results
