"""How kernels are written: pieces of values, sources that depend on sizes alone, streamed and resident weights."""

import re
import subprocess
import sys
from functools import partial

import pytest
import torch
from support.kernel_checks import KINDS, isdf, moved, nerf, points

from eugen_fields.kernels.field import FusedField, read_network
from eugen_fields.kernels.run.launch import build, write_program
from eugen_fields.kernels.write.networks import (
    DistanceNetwork,
    RadianceNetwork,
    write_density,
    write_distance,
    write_radiance,
)
from eugen_fields.kernels.write.program import ProgramWriter, padded, split_width, widths_of_pieces


@pytest.mark.parametrize("largest", [16, 32, 64, 128])
def test_pieces_are_powers_of_two_with_less_than_one_block_of_padding(largest):
    for width in range(1, 300):
        pieces = widths_of_pieces(width, largest)
        assert 0 <= sum(pieces) - width < 16
        assert all(piece in (16, 32, 64, 128) and piece <= largest for piece in pieces)
        assert sum(count for count, _ in split_width(width, largest)) == width
        assert all(0 < count <= size for count, size in split_width(width, largest))


def test_padding_is_zero_behind_the_values():
    matrix = torch.ones(3, 5)
    assert torch.equal(padded(matrix, 3, 5), matrix)
    assert float(padded(matrix, 16, 32).sum()) == 15.0 and padded(matrix, 16, 32).shape == (16, 32)


def program(field, dtype=torch.bfloat16, write=write_radiance):
    return write_program("kernel", partial(write, network=read_network(field)), dtype)


@pytest.mark.parametrize("name", KINDS)
def test_sources_depend_on_sizes_alone(name):
    field = nerf(**KINDS[name])
    first, second = program(field), program(moved(field))
    assert first.source == second.source
    assert not torch.equal(first.weights, second.weights) and not torch.equal(first.vectors, second.vectors)
    assert program(nerf(**KINDS[name], color_width=48)).source != first.source


def test_equal_sources_share_one_kernel():
    sources = [program(nerf(seed=seed)).source for seed in (5, 6)]
    assert build(sources[0], True) is build(sources[1], True)


def test_a_norm_factor_costs_a_triangle():
    # Folded, the second of these layers reads |W f + b| as |R [f; 1]| with R of 97 x 97 from 64 + 32 features, whose
    # block below the diagonal is zero; the first one reads the norm of the 128 values themselves.
    options = {"layer_width": 128, "num_features": 96, "skip_connections": (), "num_layers": 3}
    with_norm, without = (program(nerf(**options, norm=norm)).source for norm in (True, False))
    assert with_norm.count("load_block") - without.count("load_block") == 3


def test_factors_of_a_hadamard_matrix_take_fewer_blocks():
    options = {"layer": "prp", "layer_width": 256, "skip_connections": (), "num_layers": 4}
    orthogonal, hadamard = (program(nerf(matrix=matrix, **options)) for matrix in ("orthogonal", "hadamard"))
    # layers 1 to 3 have sixteen blocks of 64 x 64 each, the first and last are not square; one block serves all factors
    assert hadamard.source.count("load_block") == orthogonal.source.count("load_block") - 3 * 16 + 1
    assert orthogonal.weights.numel() - hadamard.weights.numel() == 47 * 64 * 64
    assert hadamard.source.count("product(") == orthogonal.source.count("product(") - 3 * 16 + 3 * 4


@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("piece", [16, 32, 128])
@pytest.mark.parametrize("options", [KINDS["eugen order 2"], {"layer": "prp", "matrix": "hadamard"}])
def test_every_layout_gives_the_same_values(options, resident, piece, device):
    field = nerf(**options)
    network = read_network(field)
    assert isinstance(network, RadianceNetwork)
    writer = ProgramWriter(torch.float32, piece)
    pointers = write_density(writer, network)
    written = writer.program("kernel", pointers, resident=resident)
    before_loop = written.source.split("    for ")[0].count("load_block")
    factors = int("matrix" in options and piece < 64)  # they are never streamed
    assert before_loop == (written.source.count("load_block") if resident else factors)
    if device.type != "cpu":
        pytest.skip("layouts are run in the interpreter, without the GPU's autotuner")
    p, density = points(50), torch.empty(50)
    build(written.source, True)[(2,)](p, density, written.weights, written.vectors, 50, 0, BLOCK=16, PER_PROCESSOR=1)
    torch.testing.assert_close(density, FusedField(field, torch.float32).density(p), rtol=1e-5, atol=0)


@pytest.mark.parametrize("ahead", [0, 1, 5, 1000])
def test_streamed_blocks_are_loaded_once_and_as_far_ahead_as_asked(ahead):
    network = read_network(isdf(layer="dense"))
    assert isinstance(network, DistanceNetwork)
    writer = ProgramWriter(torch.float32, 32)
    pointers = write_distance(writer, network)
    source = writer.program("kernel", pointers, resident=False, ahead=ahead).source
    loads = [int(block) for block in re.findall(r"r(\d+) = load_block", source)]
    uses = [int(block) for block in re.findall(r", w(\d+)[),]", source)]
    assert loads == uses == list(range(len(loads))) and len(loads) > 10
    for block in loads:
        used_at = source.index(f"w{block} = r{block}.to(")
        assert source.count("= load_block", 0, used_at) == min(block + ahead, len(loads) - 1) + 1


def test_the_package_imports_without_triton():
    code = "import sys, eugen_fields.kernels; print('triton' in sys.modules)"
    before = "import sys; sys.modules['triton'] = None\n"  # an import of it would raise
    result = subprocess.run([sys.executable, "-c", before + code], capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
