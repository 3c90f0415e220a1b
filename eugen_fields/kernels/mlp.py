"""An MLP that is trained by fused kernels."""

import torch
from torch import Tensor

from eugen_fields.kernels.run.graphs import Graphs
from eugen_fields.kernels.run.training import Apply, Plan
from eugen_fields.kernels.stages.live import live_stages, tensors_of
from eugen_fields.kernels.write.program import check_operands
from eugen_fields.layers import MLP


class FusedMLP:
    """Calls an MLP through fused kernels, with gradients of its parameters and its input.

    Operands of matrix products, and what the backward pass keeps, are of type `dtype`, sums are float32. Between the
    passes nothing is stored but input and output. Gradients are summed in a fixed order: equal calls give equal ones.
    The parameters are read at every call. Gradients of gradients are not offered. On a GPU, calls with one shape become
    a CUDA graph (Graphs).

    Args:
        mlp: of dense, EUGen, PRP and low-rank layers; its device decides where kernels run, as in FusedField.
        dtype: torch.bfloat16, float16 (whose gradients need a loss scale) or float32.

    Raises:
        Unsupported: kernels cannot train the MLP.
        ValueError: another dtype.
    """

    def __init__(self, mlp: MLP, dtype: torch.dtype = torch.bfloat16) -> None:
        check_operands(dtype)
        self._plan = Plan(live_stages(mlp), mlp.in_dim, dtype, next(mlp.parameters()).device)
        self.mlp = mlp
        self._graphs = Graphs(mlp, self._rows)

    def __call__(self, x: Tensor) -> Tensor:
        """y (..., out_dim), float32, from x (..., in_dim)."""
        return self._graphs(x.reshape(-1, self.mlp.in_dim)).view(*x.shape[:-1], self.mlp.out_dim)

    def _rows(self, x: Tensor) -> Tensor:
        y = Apply.apply(self._plan, x, *tensors_of(live_stages(self.mlp)))
        assert isinstance(y, Tensor)
        return y
