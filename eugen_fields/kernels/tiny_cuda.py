"""Dense networks and their encodings through tiny-cuda-nn, where it is installed.

tiny-cuda-nn ("Real-time Neural Radiance Caching for Path Tracing", Mueller et al., 2021) multiplies in float16, has no
biases and no skip connections: a network with a skip connection goes through it in parts, and biases have to be 0,
where they stay, as no gradient reaches them. Parameters remain those of the torch modules, so that a run can be opened
without tiny-cuda-nn.
"""

import importlib
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eugen_fields.encodings import FrequencyEncoding
from eugen_fields.kernels.stages.stage import activation_name
from eugen_fields.kernels.unsupported import Unsupported
from eugen_fields.kernels.write.program import padded
from eugen_fields.layers import MLP

ACTIVATIONS = {"identity": "None", "relu": "ReLU", "sigmoid": "Sigmoid"}
"""Names of activations that are the same function there."""
FULLY_FUSED = (16, 32, 64, 128)
"""Widths whose networks run in one kernel; others go layer by layer."""
ALIGNMENT = 16
"""Inputs, outputs and widths are multiples of it; what is missing of the inputs is filled with ones."""


def _check(mlp: MLP) -> None:
    for index, layer in enumerate(mlp.layers):
        if type(layer) is not nn.Linear:
            raise Unsupported(f"layer {index}: tiny-cuda-nn has no {type(layer).__name__}")
    for index, layer in enumerate(mlp.layers):
        assert isinstance(layer, nn.Linear)
        if layer.bias is not None and bool((layer.bias != 0).any()):
            raise Unsupported(
                f"layer {index} has a bias other than 0, and tiny-cuda-nn has none (train with backend tcnn)"
            )
        name = activation_name(mlp.activation_of(index))
        if name not in ACTIVATIONS:
            raise Unsupported(f"layer {index}: tiny-cuda-nn has no activation {name}")
        if index < len(mlp.layers) - 1 and layer.out_features % ALIGNMENT:
            raise Unsupported(
                f"layer {index} is {layer.out_features} wide; tiny-cuda-nn wants a multiple of {ALIGNMENT}"
            )


def tinycudann() -> Any:
    """The bindings of tiny-cuda-nn, which are installed by hand. Raises Unsupported where they are not."""
    try:
        return importlib.import_module("tinycudann")
    except ImportError as error:
        raise Unsupported(f"tiny-cuda-nn cannot be imported ({error})") from error
    except Exception as error:  # of its extension, built for another GPU or torch
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        raise Unsupported(f"tiny-cuda-nn fails to load ({first_line})") from error


@torch.no_grad()
def clear_biases(mlp: MLP) -> None:
    """Sets all biases of a dense MLP to 0."""
    for layer in mlp.layers:
        if isinstance(layer, nn.Linear) and layer.bias is not None:
            layer.bias.zero_()


class TinyCudaMLP:
    """Calls an MLP through tiny-cuda-nn, with gradients of its weights and its input.

    The weights are read at every call.

    Raises:
        Unsupported: tiny-cuda-nn cannot evaluate the MLP, or is not there.
    """

    def __init__(self, mlp: MLP) -> None:
        _check(mlp)
        tinycudann()
        self.mlp = mlp
        device = next(mlp.parameters()).device
        starts = [0, *sorted(mlp.skip_connections), len(mlp.layers)]
        self._parts = [(range(*ends), _network(mlp, range(*ends), device)) for ends in zip(starts, starts[1:])]

    def __call__(self, x: Tensor) -> Tensor:
        """y (N, out_dim), float32, from x (N, in_dim)."""
        h = x
        for indices, network in self._parts:
            h = torch.cat([x, h.to(x.dtype)], dim=-1) if indices.start else x
            weights: list[Any] = [self.mlp.layers[index].weight for index in indices]
            if network is None:
                h = self.mlp.activation_of(indices.start)(F.linear(h, weights[0]))
            else:
                h = torch.func.functional_call(network, {"params": _packed(weights)}, (h,))
        return h.float()


def _network(mlp: MLP, indices: range, device: torch.device) -> nn.Module | None:
    """What tiny-cuda-nn makes of consecutive layers; None for a single one, which is a product and no network."""
    if len(indices) == 1:
        return None
    first, last = (mlp.layers[index] for index in (indices[0], indices[-1]))
    assert isinstance(first, nn.Linear) and isinstance(last, nn.Linear)
    width = first.out_features
    settings = {
        "otype": "FullyFusedMLP" if width in FULLY_FUSED else "CutlassMLP",
        "activation": ACTIVATIONS[activation_name(mlp.activation_of(indices[0])) or ""],
        "output_activation": ACTIVATIONS[activation_name(mlp.activation_of(indices[-1])) or ""],
        "n_neurons": width,
        "n_hidden_layers": len(indices) - 1,
    }
    network = tinycudann().Network(first.in_features, last.out_features, settings).to(device)
    assert isinstance(network, nn.Module)
    return network


def _packed(weights: list[Tensor]) -> Tensor:
    """The parameters of a network there: its matrices (outputs, inputs) row by row, rows and columns filled up with
    zeros to multiples of ALIGNMENT."""
    sizes = [[-(-size // ALIGNMENT) * ALIGNMENT for size in weight.shape] for weight in weights]
    return torch.cat([padded(weight, *size).flatten() for weight, size in zip(weights, sizes)])


class TinyCudaEncoding:
    """Calls a FrequencyEncoding through tiny-cuda-nn, whose sines are the fast ones of the GPU; without gradients.

    Raises:
        Unsupported: tiny-cuda-nn is not there.
    """

    def __init__(self, encoding: FrequencyEncoding) -> None:
        octaves, device = encoding.num_frequencies, encoding.scales.device
        settings = {"otype": "Frequency", "n_frequencies": octaves}
        self._encoding = tinycudann().Encoding(encoding.in_dim, settings, dtype=torch.float32).to(device)
        # there: by coordinate, then octave, then sine and cosine; here: sine and cosine, octave, coordinate
        places = torch.arange(2 * octaves * encoding.in_dim).view(encoding.in_dim, octaves, 2)
        self._order = places.permute(2, 1, 0).flatten().to(device)

    def __call__(self, x: Tensor) -> Tensor:
        """The encoding (N, out_dim) of x (N, in_dim), float32."""
        with torch.no_grad():
            return torch.cat([x, self._encoding(x).float().index_select(-1, self._order)], dim=-1)
