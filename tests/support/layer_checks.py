"""What tests of several layers share: seeded inputs, parameters moved off special values, finite differences."""

import torch
from torch.func import functional_call


def values(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def perturbed(module, seed=0):
    """The module in float64 with every parameter moved, so that none sits at a special value such as 0."""
    generator = torch.Generator().manual_seed(seed)
    module = module.double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return module


def assert_derivatives(module, x):
    """Analytic first and second derivatives, in the input and in every parameter, equal finite differences."""
    names = [name for name, _ in module.named_parameters()]
    parameters = [parameter.detach().clone().requires_grad_() for parameter in module.parameters()]

    def run(x, *parameters):
        return functional_call(module, dict(zip(names, parameters)), (x,))

    inputs = (x.requires_grad_(), *parameters)
    assert torch.autograd.gradcheck(run, inputs)
    assert torch.autograd.gradgradcheck(run, inputs)
