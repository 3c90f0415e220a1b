"""FrequencyEncoding against its formula."""

import math

import pytest
import torch

from eugen_fields.encodings import FrequencyEncoding


def values(*shape, seed=0, dtype=torch.float32):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype) * 2.0 - 1.0


@pytest.mark.parametrize("in_dim", [1, 3])
@pytest.mark.parametrize("num_frequencies", [0, 1, 6])
@pytest.mark.parametrize("leading", [(), (4,), (2, 3), (0,)])
def test_output_dimension(in_dim, num_frequencies, leading):
    encoding = FrequencyEncoding(in_dim, num_frequencies)
    assert encoding.out_dim == in_dim * (1 + 2 * num_frequencies)
    assert encoding(values(*leading, in_dim)).shape == (*leading, encoding.out_dim)


@pytest.mark.parametrize("num_frequencies", [1, 4, 10])
def test_values_follow_the_formula(num_frequencies):
    encoding = FrequencyEncoding(3, num_frequencies)
    x = values(20, 3)
    expected = []
    for row in x.tolist():
        angles = [2.0**k * math.pi * value for k in range(num_frequencies) for value in row]
        expected.append(row + [math.sin(angle) for angle in angles] + [math.cos(angle) for angle in angles])
    tolerance = 2.0**num_frequencies * math.pi * 2.0**-23  # an angle rounded to float32
    torch.testing.assert_close(encoding(x), torch.tensor(expected), rtol=0, atol=tolerance)


def test_no_frequencies_are_the_identity():
    x = values(5, 3)
    assert torch.equal(FrequencyEncoding(3, 0)(x), x)


def test_encoding_has_period_two_but_for_the_coordinates_kept():
    encoding = FrequencyEncoding(3, 5)
    x = values(20, 3)
    torch.testing.assert_close(encoding(x + 2.0)[:, 3:], encoding(x)[:, 3:], rtol=0, atol=1e-4)


def test_sines_are_odd_and_cosines_even():
    encoding = FrequencyEncoding(2, 4)
    x = values(20, 2)
    signs = torch.cat([-torch.ones(2 + 8), torch.ones(8)])
    torch.testing.assert_close(encoding(-x), encoding(x) * signs)


def test_first_and_second_derivatives_are_those_of_the_values():
    encoding = FrequencyEncoding(3, 3).double()
    x = values(4, 3, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(encoding, x)
    assert torch.autograd.gradgradcheck(encoding, x)


def test_nothing_is_stored_or_trained():
    encoding = FrequencyEncoding(3, 5)
    assert encoding.state_dict() == {} and list(encoding.parameters()) == []


def test_negative_frequencies_are_refused():
    with pytest.raises(ValueError, match="num_frequencies is -1"):
        FrequencyEncoding(3, -1)
