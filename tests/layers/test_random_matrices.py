"""Random matrices: their laws, and that the stream behind them never changes."""

import hashlib
import math

import pytest
import torch

from eugen_fields.layers.random_matrices import (
    PROJECTIONS,
    draw_seed,
    gaussian,
    hadamard_rows,
    normal,
    orthogonal,
    orthonormal_rows,
    prp_matrix,
    rademacher,
    resolve_seed,
    ternary,
    uniform,
)

UNIT_VARIANCE = {"gaussian": (gaussian, 3), "rademacher": (rademacher, 1), "ternary": (ternary, 3)}
UNIT_VARIANCE |= {"orthogonal": (orthogonal, 3), "hadamard": (hadamard_rows, 1)}


class SplitMix64:
    """The generator of Steele, Lea and Flood (2014), state and all, in Python integers."""

    def __init__(self, state):
        self.state = state % 2**64

    def next(self):
        self.state = (self.state + 0x9E3779B97F4A7C15) % 2**64
        return self.finalize(self.state)

    @staticmethod
    def finalize(z):
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) % 2**64
        return z ^ (z >> 31)


def python_uniform(count, seed, stream):
    """The stream's key is the stream-th output of a generator started at the mixed seed."""
    keys = SplitMix64(SplitMix64.finalize(seed))
    for _ in range(stream):
        keys.next()
    draws = SplitMix64(keys.next())
    return [((draws.next() >> 11) + 1) * 2.0**-53 for _ in range(count)]


def kolmogorov_distance(draws, cdf):
    ordered = draws.sort().values
    steps = torch.arange(len(draws) + 1, dtype=torch.float64) / len(draws)
    values = cdf(ordered)
    return float(torch.maximum((values - steps[:-1]).abs().max(), (values - steps[1:]).abs().max()))


def kolmogorov_bound(count, probability=1e-6):
    return math.sqrt(-math.log(probability / 2) / (2 * count))


def test_reference_generator_gives_the_published_sequence():
    generator = SplitMix64(1234567)
    assert [generator.next() for _ in range(3)] == [6457827717110365317, 3203168211198807973, 9817491932198370423]


@pytest.mark.parametrize("seed, stream", [(0, 0), (1, 0), (0, 1), (12345, 7), (2**31 - 2, 3), (2**62 + 17, 40)])
def test_uniform_is_splitmix64(seed, stream):
    assert uniform(50, seed, stream).tolist() == python_uniform(50, seed, stream)


def test_normal_is_box_muller():
    draws = python_uniform(2000, 5, 2)
    expected = [math.sqrt(-2 * math.log(a)) * math.cos(2 * math.pi * b) for a, b in zip(draws[:1000], draws[1000:])]
    torch.testing.assert_close(normal(1000, 5, 2), torch.tensor(expected, dtype=torch.float64), rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize(
    "seed, stream, expected",
    [
        (0, 0, ["0x1.4e0dba5e9a330p-1", "0x1.6705460be882ap-1", "0x1.8c6a4553eeafep-2", "0x1.501575190cc82p-1"]),
        (1, 0, ["0x1.571565a7b500ep-2", "0x1.f70b5f3934fc9p-1", "0x1.5b6db250da65cp-2", "0x1.e3255589e2454p-2"]),
        (7, 0, ["0x1.78b8d0179078ep-1", "0x1.db7ff7ac5d1f5p-1", "0x1.18b153ced56e2p-1", "0x1.15897ce1a9851p-1"]),
        (3, 5, ["0x1.a31d6134c0388p-1", "0x1.004c167583df5p-1", "0x1.c53ab1ff1c982p-1", "0x1.9bbd04ea684a4p-3"]),
    ],
)
def test_uniform_stream_is_frozen(seed, stream, expected):
    assert [value.hex() for value in uniform(4, seed, stream).tolist()] == expected


@pytest.mark.parametrize(
    "seed, expected",
    [
        (0, ["0x1.bec897fa75bb7p-3", "0x1.05bf37bd45eb7p-1", "0x1.f933e88aeeba2p-3", "-0x1.6478592aef383p-4"]),
        (1, ["0x1.506a22dd8b8b6p+0", "-0x1.15b5418897672p-3", "0x1.e8fbef01e7a24p-2", "0x1.36782bf8a067dp+0"]),
        (7, ["0x1.95a256d08d8d8p-2", "-0x1.8d8034f6181b4p-6", "-0x1.d4e5da7dd105dp-1", "-0x1.ce2ab620c978fp-1"]),
    ],
)
def test_normal_stream_is_frozen(seed, expected):
    assert [value.hex() for value in normal(4, seed).tolist()] == expected


@pytest.mark.parametrize(
    "kind, digest",
    [
        ("gaussian", "18fe943de84124821e25e8d2aac7c0079ee048d32586ad78493b731979a12576"),
        ("rademacher", "7721ecad3bd0e64db9afd1374bd185c91e3fa3d72b385d9c2b98b013fd2e205c"),
        ("ternary", "0096aae357defd01f27c2647e83765b892a1d759ed622348cd51074a09b21758"),
        ("hadamard", "349e3780df64f249522a07af9a043d116c923712946f9ef02e0bf78f595da177"),
    ],
)
def test_matrices_are_frozen(kind, digest):
    matrix = UNIT_VARIANCE[kind][0](40, 24, 11, 2).float()
    assert hashlib.sha256(matrix.numpy().astype("<f4").tobytes()).hexdigest() == digest


def test_orthogonal_matrices_are_frozen_to_an_ulp():
    # QR comes from LAPACK, which may differ in the last bits of float64
    gom = [[-1.042940982282554, -0.8823796288226525, 0.5183972212676329]]
    gom += [[0.15135570299624848, 0.8938627939339988, 1.8259769671839028]]
    torch.testing.assert_close(orthogonal(2, 3, 5), torch.tensor(gom, dtype=torch.float64), rtol=1e-12, atol=1e-12)
    rows = [[-0.9341535704009942, -0.35687127498171467], [-0.35687127498171467, 0.9341535704009943]]
    rows += [[-0.9947507533551552, -0.10232760477677325]]
    expected = torch.tensor(rows, dtype=torch.float64)
    torch.testing.assert_close(orthonormal_rows(3, 2, 5), expected, rtol=1e-12, atol=1e-12)


def test_uniform_lies_in_the_half_open_unit_interval_and_is_uniform():
    draws = uniform(100_000, seed=4)
    assert draws.dtype == torch.float64 and draws.shape == (100_000,)
    assert 0.0 < float(draws.min()) and float(draws.max()) <= 1.0
    assert torch.equal(draws * 2.0**53, (draws * 2.0**53).round())
    assert kolmogorov_distance(draws, lambda x: x) < kolmogorov_bound(100_000)


def test_normal_is_standard_normal():
    draws = normal(100_000, seed=4)
    cdf = lambda x: 0.5 * torch.erfc(-x / math.sqrt(2.0))
    assert kolmogorov_distance(draws, cdf) < kolmogorov_bound(100_000)


def test_shorter_draws_are_prefixes_of_longer_ones():
    assert torch.equal(uniform(10, 3, 1), uniform(1000, 3, 1)[:10])


def test_streams_and_seeds_are_independent():
    count = 20_000
    keys = [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (0, 65_536), (0, 1 << 20)]
    draws = torch.stack([uniform(count, *key) for key in keys])
    assert len(torch.unique(draws)) > draws.numel() - 5  # shifted copies of one sequence would share their values
    correlation = torch.corrcoef(torch.cat([draws, draws[:1].roll(1, dims=1)]))
    off_diagonal = correlation - torch.eye(len(correlation), dtype=torch.float64)
    assert float(off_diagonal.abs().max()) < 5 / math.sqrt(count)


@pytest.mark.parametrize("kind", UNIT_VARIANCE)
@pytest.mark.parametrize("rows, columns", [(16, 32), (48, 16)])
def test_entries_have_mean_zero_unit_variance_and_the_stated_fourth_moment(kind, rows, columns):
    draw, fourth = UNIT_VARIANCE[kind]
    count = 200
    matrices = torch.stack([draw(rows, columns, seed) for seed in range(count)])
    assert matrices.dtype == torch.float64 and matrices.shape == (count, rows, columns)
    for power, expected in ((1, 0.0), (2, 1.0), (4, float(fourth))):
        moments = matrices.pow(power).mean(dim=(1, 2))
        error = 5 * float(moments.std()) / math.sqrt(count) + 1e-12
        assert abs(float(moments.mean()) - expected) < error


@pytest.mark.parametrize("kind", UNIT_VARIANCE)
def test_seeds_and_streams_change_the_matrix(kind):
    draw = UNIT_VARIANCE[kind][0]
    assert torch.equal(draw(6, 8, 3, 1), draw(6, 8, 3, 1))
    assert not torch.equal(draw(6, 8, 3, 1), draw(6, 8, 4, 1))
    assert not torch.equal(draw(6, 8, 3, 1), draw(6, 8, 3, 2))


def test_ternary_values_and_frequencies():
    count = 60_000
    matrix = ternary(200, 300, seed=2)
    root = math.sqrt(3.0)
    assert set(matrix.unique().tolist()) == {-root, 0.0, root}
    for value, probability in ((-root, 1 / 6), (0.0, 2 / 3), (root, 1 / 6)):
        error = 5 * math.sqrt(probability * (1 - probability) / count)
        assert abs(float((matrix == value).double().mean()) - probability) < error


def test_gom_rows_are_orthogonal_within_blocks_and_their_norms_are_gaussian():
    columns = 12
    matrix = orthogonal(30, columns, seed=6)
    for start in range(0, 30, columns):
        block = matrix[start : start + columns]
        gram = block @ block.T
        torch.testing.assert_close(gram, torch.diag(gram.diagonal()), rtol=0, atol=1e-10)
    assert float(matrix.norm(dim=1).std()) > 0.1
    assert float((matrix[:columns] @ matrix[columns : 2 * columns].T).abs().max()) > 0.1  # blocks are independent
    count = 1600
    squares = torch.cat([orthogonal(4, columns, seed).square().sum(dim=1) for seed in range(count // 4)])
    chi_square_error = 5 * math.sqrt(2 * columns / count)
    assert abs(float(squares.mean()) - columns) < chi_square_error
    assert abs(float(squares.var()) / (2 * columns) - 1) < 5 * math.sqrt((2 + 12 / columns) / count)


@pytest.mark.parametrize("rows, columns", [(5, 9), (9, 9), (25, 9), (3, 1)])
def test_orthonormal_rows_are_orthonormal_in_blocks(rows, columns):
    matrix = orthonormal_rows(rows, columns, seed=3)
    assert matrix.shape == (rows, columns)
    for start in range(0, rows, columns):
        block = matrix[start : start + columns]
        identity = torch.eye(len(block), dtype=torch.float64)
        torch.testing.assert_close(block @ block.T, identity, rtol=0, atol=1e-12)


def test_orthonormal_rows_are_haar_distributed():
    # without the sign fix the first entry of Q would keep one sign
    count = 600
    firsts = torch.stack([orthonormal_rows(3, 3, seed)[:, 0] for seed in range(count)])
    assert float(firsts.mean(dim=0).abs().max()) < 5 * math.sqrt(1 / 3 / count)
    assert float((firsts.square().mean(dim=0) - 1 / 3).abs().max()) < 5 * float(firsts.square().std()) / math.sqrt(
        count
    )


@pytest.mark.parametrize("rows, columns", [(8, 8), (5, 8), (20, 8), (1, 1), (7, 6), (20, 6)])
def test_hadamard_entries_are_signs_and_rows_are_orthogonal_for_powers_of_two(rows, columns):
    matrix = hadamard_rows(rows, columns, seed=1)
    assert matrix.shape == (rows, columns)
    assert torch.equal(matrix.abs(), torch.ones_like(matrix))
    if columns & (columns - 1) == 0:
        for start in range(0, rows, columns):
            block = matrix[start : start + columns]
            assert torch.equal(block @ block.T, columns * torch.eye(len(block), dtype=torch.float64))


@pytest.mark.parametrize("columns, size", [(5, 8), (9, 16), (13, 16), (16, 16)])
def test_padded_hadamard_rows_are_orthogonal_only_on_average(columns, size):
    count = 1500
    pairs = (hadamard_rows(2, columns, seed) for seed in range(count))
    products = torch.stack([first @ second for first, second in pairs])
    scatter = columns * (size - columns) / (size - 1)
    for power, expected in ((1, (size - columns) / (size - 1)), (2, scatter)):
        moments = products.pow(power)
        assert abs(float(moments.mean()) - expected) <= 5 * float(moments.std()) / math.sqrt(count)
    whole = hadamard_rows(size, columns, seed=0)
    assert torch.equal(whole.T @ whole, size * torch.eye(columns, dtype=torch.float64))


@pytest.mark.parametrize("matrix", ["gaussian", "ternary", "orthogonal", "hadamard"])
@pytest.mark.parametrize("in_features, out_features", [(32, 16), (16, 48)])
def test_prp_matrices_have_mean_zero_and_variance_one_over_inputs(matrix, in_features, out_features):
    count = 200
    draws = torch.stack([prp_matrix(matrix, in_features, out_features, seed) for seed in range(count)])
    assert draws.shape == (count, out_features, in_features)
    for moments, expected in ((draws.mean(dim=(1, 2)), 0.0), (draws.square().mean(dim=(1, 2)) * in_features, 1.0)):
        error = 5 * float(moments.std()) / math.sqrt(count) + 1e-12
        assert abs(float(moments.mean()) - expected) < error


def test_unknown_prp_matrix_is_refused_by_name():
    with pytest.raises(ValueError, match="matrix is 'fourier'"):
        prp_matrix("fourier", 4, 4, 0)


def test_projection_names_lead_to_their_functions():
    assert PROJECTIONS == {"gaussian": gaussian, "rademacher": rademacher, "orthogonal": orthogonal}


def test_seeds_follow_torch_unless_given():
    torch.manual_seed(3)
    first = draw_seed(), resolve_seed(None)
    torch.manual_seed(3)
    assert (draw_seed(), resolve_seed(None)) == first and first[0] != first[1]
    assert resolve_seed(17) == 17
    with pytest.raises(ValueError, match="seed is -1"):
        resolve_seed(-1)
