"""Our activation of densities against nerfstudio's, value for value and gradient for gradient."""

import subprocess
import sys

import pytest
import torch

from eugen_fields.fields.truncated_exp import truncated_exp

EXPONENTS = [-200.0, -15.5, -15.0, -1.0, 0.0, 1e-3, 4.0, 14.9, 15.0, 15.1, 80.0, 100.0, float("inf"), float("nan")]
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


def value_and_gradient(function, dtype, autocast):
    exponents = torch.tensor(EXPONENTS, dtype=dtype, requires_grad=True)
    with torch.autocast(exponents.device.type, dtype=torch.bfloat16, enabled=autocast):
        value = function(exponents)
    (gradient,) = torch.autograd.grad(value, exponents, torch.linspace(-2.0, 3.0, len(exponents)).to(value.dtype))
    return value, gradient


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_values_and_gradients_are_those_of_nerfstudio(dtype, autocast):
    from nerfstudio.field_components.activations import trunc_exp

    for mine, theirs in zip(*(value_and_gradient(f, dtype, autocast) for f in (truncated_exp, trunc_exp))):
        assert mine.dtype == theirs.dtype
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0, equal_nan=True)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="only CUDA's autocast casts its input")
def test_autocast_computes_in_float32():
    from nerfstudio.field_components.activations import trunc_exp

    exponents = torch.tensor(EXPONENTS, device="cuda").half()
    with torch.autocast("cuda", dtype=torch.float16):
        mine, theirs = truncated_exp(exponents), trunc_exp(exponents)
    assert mine.dtype == theirs.dtype == torch.float32
    torch.testing.assert_close(mine, theirs, rtol=0, atol=0, equal_nan=True)


def test_the_gradient_is_the_exponential_within_its_limits():
    exponents = torch.linspace(-14.9, 14.9, 50, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(truncated_exp, (exponents,))


def test_fields_and_kernels_import_torch_and_nothing_that_is_heavy():
    heavy = ("nerfstudio", "viser", "open3d", "matplotlib", "tyro")
    code = (
        "import sys, eugen_fields.fields, eugen_fields.kernels\n"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "[]"
