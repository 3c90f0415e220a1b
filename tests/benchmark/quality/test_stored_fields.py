"""Fields in small files: what is written comes back, as exactly as the number format allows."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from eugen_fields.benchmark.quality.stored_fields import FORMATS, compact, quantise, read_field, write_field
from eugen_fields.fields import NeRFField

BOX = torch.tensor([[-1.0, -2.0, -1.5], [1.0, 2.0, 1.5]])
KINDS = {
    "dense": {"layer": "dense"},
    "eugen": {"layer": "eugen", "num_features": 4},
    "eugen fixed": {"layer": "eugen", "num_features": 4, "train_projections": False},
    "prp": {"layer": "prp"},
    "prp rank": {"layer": "prp", "rank": 2, "matrix": "ternary"},
}


def field(kind: str) -> NeRFField:
    torch.manual_seed(0)
    network = NeRFField(
        BOX, num_layers=4, layer_width=24, feature_dim=8, color_width=8, skip_connections=(2,), seed=3, **KINDS[kind]
    )
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape))
    return network.eval()


def outputs(network) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    points = 2 * torch.rand(200, 3, generator=generator) - 1
    directions = torch.nn.functional.normalize(torch.randn(200, 3, generator=generator), dim=-1)
    with torch.no_grad():
        density, color = network(points, directions)
    return torch.cat([density.log()[:, None], color], dim=-1)


@pytest.mark.parametrize("number_format, error", [("float32", 1e-4), ("float16", 2e-2), ("int8", 0.3)])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_comes_back(kind: str, number_format, error: float, tmp_path: Path) -> None:
    network = field(kind)
    form, path = compact(network), tmp_path / "field.npy"
    size = write_field(form, path, number_format)
    blank = compact(network)
    for value in blank.state_dict().values():
        value.zero_()
    loaded = read_field(blank, path, number_format)
    assert path.stat().st_size == size
    assert torch.equal(loaded.aabb, BOX)
    torch.testing.assert_close(outputs(loaded), outputs(network), rtol=0, atol=error)


@pytest.mark.parametrize("kind", KINDS)
def test_files_hold_nothing_but_the_numbers(kind: str, tmp_path: Path) -> None:
    form = compact(field(kind))
    values = {name: value for name, value in form.state_dict().items() if name != "aabb"}
    floats = [value for value in values.values() if value.is_floating_point()]
    seeds = sum(value.numel() for value in values.values() if not value.is_floating_point())
    matrices = [value for value in floats if value.dim() >= 2]
    rows, cells = sum(len(value) for value in matrices), sum(value.numel() for value in matrices)
    vectors = sum(value.numel() for value in floats) - cells
    expected = {
        "float32": 4 * (cells + vectors),
        "float16": 2 * (cells + vectors),
        "int8": cells + 2 * (rows + vectors),
    }
    for number_format in FORMATS:
        heads = 128 * (4 if number_format == "int8" else 3)
        size = write_field(form, tmp_path / "field.npy", number_format)
        assert size == heads + 6 * 4 + 8 * seeds + expected[number_format]


def test_random_matrices_are_seeds_in_files_and_eugen_layers_are_folded() -> None:
    count = {kind: sum(value.numel() for value in compact(field(kind)).state_dict().values()) for kind in KINDS}
    assert count["prp"] < count["prp rank"] < count["dense"] and count["eugen"] < count["dense"]
    trained = sum(value.numel() for value in field("eugen").state_dict().values())
    assert count["eugen"] < trained


def test_rows_are_quantised_to_half_a_step() -> None:
    matrix = torch.randn(20, 30, generator=torch.Generator().manual_seed(0)) * torch.logspace(-4, 3, 20)[:, None]
    matrix[7] = 0.0
    rows, scales = quantise(matrix)
    assert rows.dtype == torch.int8 and scales.dtype == torch.float16 and rows[7].eq(0).all()
    error = (rows * scales.float()[:, None] - matrix).abs().amax(dim=1)
    assert bool((error <= 0.56 * scales.float() + 1e-7).all())
