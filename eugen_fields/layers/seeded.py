"""A module whose fixed random matrix is never stored: its integer seed is, and the matrix is drawn again from it."""

import torch
from torch import Tensor, nn


class SeededMatrix(nn.Module):
    """Base of layers with a fixed random matrix that is regenerated from a seed.

    A subclass defines `_draw(seed)`, calls `_register_seeded(name, seed)`, and finds the matrix as attribute `name`.
    Further tensors of the same seed are registered with the name of the method that draws them. The seed is in the
    state dict (int64, shape ()); what is drawn from it is not. Loading a state dict with another seed draws anew.
    """

    seed: Tensor
    _seeded: dict[str, str]

    def _draw(self, seed: int) -> Tensor:
        """The float64 matrix of `seed`, on the CPU."""
        raise NotImplementedError

    def _register_seeded(self, name: str, seed: int, draw: str = "_draw") -> None:
        if "seed" not in self._buffers:
            self._seeded = {}
            self.register_buffer("seed", torch.tensor(seed, dtype=torch.int64))
        self._seeded[name] = draw
        drawn = _storable(getattr(self, draw)(seed))
        if drawn.is_floating_point():
            drawn = drawn.to(torch.get_default_dtype())
        self.register_buffer(name, drawn, persistent=False)

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs) -> None:
        old = int(self.seed) if "seed" in self._buffers else None
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
        if old is not None and int(self.seed) != old:
            for name, draw in self._seeded.items():
                setattr(self, name, _storable(getattr(self, draw)(int(self.seed))).to(getattr(self, name)))


def _storable(drawn: Tensor) -> Tensor:
    """Float32 first of all: the same matrix whatever the dtype of the layer. Integers stay as they are."""
    return drawn.float() if drawn.is_floating_point() else drawn
