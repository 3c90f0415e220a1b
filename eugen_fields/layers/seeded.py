"""A module whose fixed random matrix is never stored: its integer seed is, and the matrix is drawn again from it."""

import torch
from torch import Tensor, nn


class SeededMatrix(nn.Module):
    """Base of layers with a fixed random matrix that is regenerated from a seed.

    A subclass defines `_draw(seed)`, calls `_register_seeded(name, seed)` once, and finds the matrix as attribute
    `name`. The seed is in the state dict (int64, shape ()); the matrix is not. Loading a state dict with another seed
    draws the matrix of that seed.
    """

    seed: Tensor
    _seeded_name: str

    def _draw(self, seed: int) -> Tensor:
        """The float64 matrix of `seed`, on the CPU."""
        raise NotImplementedError

    def _register_seeded(self, name: str, seed: int) -> None:
        self._seeded_name = name
        self.register_buffer("seed", torch.tensor(seed, dtype=torch.int64))
        matrix = self._draw(seed).float()  # first of all float32: the same matrix whatever the dtype of the layer
        self.register_buffer(name, matrix.to(torch.get_default_dtype()), persistent=False)

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs) -> None:
        old = int(self.seed) if "seed" in self._buffers else None
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
        if old is not None and int(self.seed) != old:
            matrix = getattr(self, self._seeded_name)
            setattr(self, self._seeded_name, self._draw(int(self.seed)).float().to(matrix))
