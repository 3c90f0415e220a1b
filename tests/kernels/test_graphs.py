"""Training steps as CUDA graphs: on a GPU the real ones; elsewhere with a stand-in that keeps its inputs and outputs in
one place, as graphs do, and shows what is written over too early."""

import pytest
import torch
from support.kernel_checks import isdf, moved, points

from eugen_fields.kernels import FusedDistance, FusedMLP
from eugen_fields.kernels.run import graphs
from eugen_fields.layers import MLP


class StandIn:
    """One call of make_graphed_callables: values and gradients come from what lies in the static memory."""

    captured = 0

    def __init__(self, block, sample):
        StandIn.captured += 1
        self.x = sample.clone()
        parameters = list(block.parameters())
        outer = self

        class Graphed(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x, *parameters):
                outer.x.copy_(x)
                outer.y = block(outer.x).detach() if not hasattr(outer, "y") else outer.y.copy_(block(outer.x).detach())
                return outer.y.detach()

            @staticmethod
            def backward(ctx, gradient):
                with torch.enable_grad():
                    x = outer.x.detach().requires_grad_(sample.requires_grad)
                    wanted = [value for value in (x, *parameters) if value.requires_grad]
                    found = list(torch.autograd.grad(block(x), wanted, gradient))
                return (found.pop(0) if sample.requires_grad else None, *found)

        self.call = lambda x: Graphed.apply(x, *parameters)


@pytest.fixture(autouse=True)
def stand_in(device, monkeypatch):
    if device.type == "cpu":
        StandIn.captured = 0
        monkeypatch.setattr(graphs, "DEVICES", ("cpu",))
        monkeypatch.setattr(torch.cuda, "make_graphed_callables", lambda block, args: StandIn(block, *args).call)


def network(device):
    torch.manual_seed(0)
    return moved(MLP(5, 3, 32, 3, layer="eugen", num_features=16), device)


def step(mlp, call, x):
    """A step of descent; returns the gradients."""
    mlp.zero_grad()
    call(x).square().sum().backward()
    with torch.no_grad():
        for parameter in mlp.parameters():
            parameter -= 1e-4 * parameter.grad
    return [parameter.grad.clone() for parameter in mlp.parameters()]


@pytest.mark.parametrize("input_gradient", [True, False])
def test_steps_are_those_of_the_kernels(input_gradient, device):
    both = [network(device) for _ in range(2)]
    fused, plain = (FusedMLP(mlp, torch.float32) for mlp in both)
    generator = torch.Generator().manual_seed(0)
    for _ in range(6):
        x = torch.randn(20, 5, generator=generator).to(device)
        xs = [x.clone().requires_grad_(input_gradient) for _ in range(2)]
        mine, expected = (step(mlp, call, x) for mlp, call, x in zip(both, (fused, plain._rows), xs, strict=True))
        for one, other in zip([*mine, xs[0].grad], [*expected, xs[1].grad], strict=True):
            if one is not None:
                torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
    assert list(fused._graphs._captured) == [((20, 5), torch.float32, input_gradient)]
    assert None not in fused._graphs._captured.values()


def test_only_shapes_that_stay_are_captured(device):
    mlp = network(device)
    fused = FusedMLP(mlp, torch.float32)
    for count in (3, 4, 5, 3, 4, 5, 6, 6, 7):
        step(mlp, fused, torch.randn(count, 5, device=device))
    assert fused._graphs._captured == {}
    with torch.no_grad():
        for _ in range(4):
            fused(torch.randn(6, 5, device=device))
    assert fused._graphs._captured == {}
    for count in range(1, 10):
        for _ in range(graphs.STEADY):
            step(mlp, fused, torch.randn(count, 5, device=device))
    assert len(fused._graphs._captured) == graphs.MOST


def test_a_result_that_waits_for_its_backward_pass_is_not_written_over(device):
    both = [network(device) for _ in range(2)]
    fused, plain = FusedMLP(both[0], torch.float32), FusedMLP(both[1], torch.float32)._rows
    xs = [torch.randn(20, 5, generator=torch.Generator().manual_seed(seed)).to(device) for seed in (0, 1)]
    for _ in range(graphs.STEADY):
        step(both[0], fused, xs[0])
        step(both[1], plain, xs[0])
    for mlp, call in zip(both, (fused, plain)):
        mlp.zero_grad()
        first = call(xs[0])
        second = call(xs[1])
        (first.square().sum() + (second - 1.0).square().sum()).backward()
    for mine, expected in zip(both[0].parameters(), both[1].parameters()):
        torch.testing.assert_close(mine.grad, expected.grad, rtol=1e-4, atol=1e-6)
    assert not fused._graphs._waiting


def test_distances_and_gradients_too(device):
    field = isdf(device, layer="eugen", num_features=16).train()
    fused, p = FusedDistance(field, torch.float32), points(9, device)

    def gradients(call):
        distance, slope = call(p)
        loss = distance.square().sum() + (slope.norm(dim=-1) - 1.0).square().sum()
        return torch.autograd.grad(loss, list(field.trunk.parameters()))

    runs = [gradients(fused) for _ in range(graphs.STEADY + 1)]
    assert len(fused._graphs._captured) == 1 and None not in fused._graphs._captured.values()
    for first, last in zip(runs[0], runs[-1]):
        torch.testing.assert_close(last, first, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("wrong", ["fails", "differs"])
def test_what_cannot_be_captured_is_launched(wrong, device, monkeypatch, caplog):
    def capture(block, args):
        if wrong == "fails":
            raise RuntimeError("CUDA error: operation not permitted when stream is capturing\nmore")
        return lambda x: 1.5 * block(x)

    monkeypatch.setattr(torch.cuda, "make_graphed_callables", capture)
    mlp = network(device)
    fused, x = FusedMLP(mlp, torch.float32), torch.randn(6, 5, device=device)
    expected = fused(x)
    for _ in range(5):
        assert torch.equal(fused(x), expected)
    lines = [record.getMessage() for record in caplog.records if record.name == graphs.__name__]
    assert len(lines) == 1 and ("not permitted" if wrong == "fails" else "differ") in lines[0]


def test_captures_are_not_broken_by_other_threads(device, monkeypatch):
    """A viewer renders while a training is captured."""
    modes, usual = [], torch.cuda.graph

    def capture(block, args):
        modes.append(torch.cuda.graph.keywords["capture_error_mode"])
        return StandIn(block, *args).call

    if device.type == "cpu":
        monkeypatch.setattr(torch.cuda, "make_graphed_callables", capture)
    else:
        whole = torch.cuda.make_graphed_callables
        monkeypatch.setattr(torch.cuda, "make_graphed_callables", lambda *args: (capture(*args), whole(*args))[1])
    mlp = network(device)
    call = graphs.Graphs(mlp, mlp)
    for _ in range(graphs.STEADY):
        step(mlp, call, torch.randn(16, 5, device=device))
    assert modes == ["thread_local"] and torch.cuda.graph is usual
