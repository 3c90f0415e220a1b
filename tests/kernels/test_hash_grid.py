"""The hash grid of tiny-cuda-nn in the place of planes: with a stand-in where that is not installed."""

from __future__ import annotations

import importlib.util
import math
import sys
from types import ModuleType

import pytest
import torch
from torch import nn

from eugen_fields.fields import PlaneField
from eugen_fields.kernels import TinyCudaHashGrid, Unsupported

AABB = torch.tensor([[-1.0] * 3, [1.0] * 3])


class Encoding(nn.Module):
    """Its settings, and features in float16 that are as large as x, with a row more than asked for."""

    def __init__(self, n_input_dims, encoding_config):
        super().__init__()
        assert n_input_dims == 3 and encoding_config["otype"] == "HashGrid"
        self.config = encoding_config
        self.width = encoding_config["n_levels"] * encoding_config["n_features_per_level"]
        self.params = nn.Parameter(torch.ones(self.width))

    def forward(self, x):
        assert 0.0 <= float(x.detach().min()) and float(x.detach().max()) <= 1.0
        return nn.functional.pad((x[:, :1] * self.params).half(), (0, 1), value=1.0)


@pytest.fixture
def stand_in(monkeypatch):
    module = ModuleType("tinycudann")
    module.Encoding = Encoding  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tinycudann", module)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)


def test_levels_span_the_resolutions_and_rows_are_cut_to_size(stand_in):
    grid = TinyCudaHashGrid(16, 512, levels=6, log2_entries=12)
    settings = grid.grid.config
    assert settings["base_resolution"] == 16 and settings["n_levels"] == 6 and settings["log2_hashmap_size"] == 12
    assert 16 * settings["per_level_scale"] ** 5 == pytest.approx(512)
    positions = torch.tensor([[-1.0, 0.0, 0.5], [1.0, 1.0, -1.0]])
    found = grid(positions)
    assert found.dtype == torch.float32 and found.shape == (2, grid.out_dim) == (2, 3 + 12)
    torch.testing.assert_close(found[:, :3], positions)
    torch.testing.assert_close(found[:, 3:], torch.tensor([[0.0], [1.0]]).expand(2, 12))


def test_wide_cones_read_coarse_levels_alone(stand_in):
    grid = TinyCudaHashGrid(4, 64, levels=3)
    found = grid(torch.ones(1, 3), torch.tensor([0.02]))[0, 3:]
    expected = [math.exp(-0.5 * (math.pi * 0.02 * size / 2) ** 2) for size in (4, 16, 64)]
    assert found.tolist() == pytest.approx([value for value in expected for _ in range(2)])


def test_a_field_reads_it_as_it_reads_planes(stand_in):
    field = PlaneField(AABB, TinyCudaHashGrid(4, 64), bounded=False, num_layers=1, layer_width=8, feature_dim=4)
    density, color = field(torch.randn(20, 3), torch.nn.functional.normalize(torch.ones(20, 3), dim=-1))
    (density.sum() + color.sum()).backward()
    assert bool(field.position_encoding.grid.params.grad.any())


def test_without_it_the_reason_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "tinycudann", None)  # an import of it raises
    with pytest.raises(Unsupported, match="tiny-cuda-nn cannot be imported"):
        TinyCudaHashGrid(16, 512)


def test_without_a_gpu_the_reason_is_said(stand_in, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(Unsupported, match="needs a CUDA device"):
        TinyCudaHashGrid(16, 512)


@pytest.mark.skipif(
    not torch.cuda.is_available() or importlib.util.find_spec("tinycudann") is None, reason="needs tiny-cuda-nn on CUDA"
)
def test_the_real_one_trains():
    grid = TinyCudaHashGrid(16, 128, levels=4, log2_entries=14).cuda()
    positions = 2.0 * torch.rand(1000, 3, device="cuda") - 1.0
    found = grid(positions, torch.full((1000,), 0.001, device="cuda"))
    assert found.shape == (1000, grid.out_dim)
    found.square().sum().backward()
    assert bool(grid.grid.params.grad.isfinite().all())
