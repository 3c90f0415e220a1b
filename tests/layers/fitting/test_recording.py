"""Streams of inputs, and what hooks record: faithful copies, first calls, nothing left behind."""

import pytest
import torch
from support.layer_checks import values
from torch import nn

from eugen_fields.layers.fitting.recording import Stream, as_rows, evaluation_mode, record, run_order


class Network(nn.Module):
    """Layers registered in another order than that in which they run; works in place on what it recorded."""

    def __init__(self):
        super().__init__()
        self.last, self.first, self.unused = nn.Linear(4, 2), nn.Linear(3, 4), nn.Linear(1, 1)
        self.act, self.drop = nn.SiLU(inplace=True), nn.Dropout(0.5)

    def forward(self, x):
        h = self.act(self.first(input=x))
        x.zero_()
        return self.last(self.drop(h)).mul_(0)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return Network().double()


# streams


def sizes(stream):
    return [(len(batch), None if weights is None else len(weights)) for batch, weights in stream]


def test_every_form_of_inputs_yields_batches_again_and_again():
    x, w = values(10, 3), torch.ones(10)

    class Anew:
        def __iter__(self):
            yield x
            yield x[:4], w[:4]

    forms = {
        "tensor": (x, [(4, None), (4, None), (2, None)]),
        "list": ([x, x[:2]], [(10, None), (2, None)]),
        "pairs": ([(x, w), [x, w]], [(10, 10), (10, 10)]),
        "pair without weights": ([(x, None)], [(10, None)]),
        "tuple": ((x, x[:2]), [(10, None), (2, None)]),
        "loader": (torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, w), 6), [(6, 6), (4, 4)]),
        "anew": (Anew(), [(10, None), (4, 4)]),
    }
    for inputs, expected in forms.values():
        stream = Stream(inputs, batch_size=4)
        assert sizes(stream) == sizes(stream) == expected


def test_unusable_inputs_are_refused():
    x = values(4, 3)
    for inputs in ((batch for batch in [x]), iter([x]), map(torch.relu, [x])):
        with pytest.raises(ValueError, match="inputs is an iterator, which can be used only once"):
            Stream(inputs)
    for empty in (x[:0], x[:, :0]):
        with pytest.raises(ValueError, match="holds no samples"):
            Stream(empty)
    with pytest.raises(ValueError, match="inputs is a NoneType; it must be a tensor or an iterable"):
        Stream(None)
    refused = [
        ([], "yields no batches"),
        (["abc"], "a batch of inputs is a str"),
        ([(x, x, x)], "a batch of inputs is a tuple"),
        ([(x, torch.ones(3))], r"weights of a batch of 4 inputs are \(3,\); shape \(4,\) is needed"),
        ([(x, 1.0)], "are float"),
        ([(x, torch.tensor([1.0, -1.0, 1.0, 1.0]))], "NaN, infinity or a negative number"),
        ([(x, torch.tensor([1.0, float("nan"), 1.0, 1.0]))], "NaN, infinity or a negative number"),
    ]
    for inputs, message in refused:
        with pytest.raises(ValueError, match=message):
            list(Stream(inputs))


def test_minibatches_go_through_everything_and_keep_weights_with_inputs():
    x = torch.arange(10.0)[:, None]
    stream = Stream([(x[:6], x[:6, 0]), (x[6:], x[6:, 0])])
    parts = stream.minibatches(4, torch.Generator().manual_seed(0))
    for _ in range(2):
        epoch = [next(parts) for _ in range(3)]
        assert all(torch.equal(batch[:, 0], weights) for batch, weights in epoch)
        assert sorted(torch.cat([weights for _, weights in epoch]).tolist()) == list(range(10))


def test_weights_follow_rows():
    x, w = values(2, 3, 5), torch.tensor([1.0, 2.0])
    rows, weights = as_rows(x, w)
    assert torch.equal(rows, x.view(6, 5)) and weights.tolist() == [1, 1, 1, 2, 2, 2]
    assert as_rows(x, None)[1] is None
    with pytest.raises(ValueError, match="the network moves the first axis"):
        as_rows(x.transpose(0, 1), w)


# recording


def test_what_layers_see_and_return_is_recorded_before_anything_works_in_place(network):
    x = values(6, 3)
    inputs, outputs = record(network, x.clone(), inputs=["first", "last"], outputs=["first", "last"])
    assert torch.equal(inputs["first"], x)
    torch.testing.assert_close(outputs["first"], network.first(x))
    torch.testing.assert_close(inputs["last"], nn.functional.silu(network.first(x)))
    torch.testing.assert_close(outputs["last"], network.last(inputs["last"]))
    assert not any(value.requires_grad for value in (*inputs.values(), *outputs.values()))


def test_the_first_of_several_calls_is_recorded():
    layer = nn.Linear(3, 3).double()
    network = nn.Sequential(layer, layer, nn.Linear(3, 1).double())
    x = values(4, 3)
    inputs, outputs = record(network, x, inputs=["0", "2"], outputs=["0"])
    assert torch.equal(inputs["0"], x) and torch.equal(outputs["0"], layer(x))


def test_nothing_runs_beyond_what_is_asked_for():
    def fail(*_):
        raise AssertionError("ran on")

    network = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    network[1].register_forward_pre_hook(fail)
    record(network, torch.ones(2, 3), outputs=["0"])


def test_a_module_itself_can_be_recorded():
    layer = nn.Linear(3, 2)
    inputs, outputs = record(layer, torch.ones(4, 3), inputs=[""], outputs=[""])
    assert torch.equal(inputs[""], torch.ones(4, 3)) and torch.equal(outputs[""], layer(torch.ones(4, 3)))


def test_modes_and_hooks_are_as_before_even_after_an_error(network):
    network.act.eval()
    modes = [part.training for part in network.modules()]

    def untouched():
        hooks = [h for part in network.modules() for h in (*part._forward_hooks, *part._forward_pre_hooks)]
        return not hooks and [part.training for part in network.modules()] == modes

    record(network, values(6, 3), inputs=["last"])
    assert untouched()
    for call in (record, lambda *_, **__: run_order(network, values(6, 5), ["last"])):
        with pytest.raises(RuntimeError):  # inputs of another width
            call(network, values(6, 5), outputs=["last"])
        assert untouched()
    with evaluation_mode(network):
        assert not any(part.training for part in network.modules())
    assert untouched()


def test_layers_that_do_not_run_are_named(network):
    for arguments in ({"inputs": ["first", "unused"]}, {"outputs": ["unused"]}):
        with pytest.raises(ValueError, match="unused is not called when Network is given these inputs"):
            record(network, values(6, 3), **arguments)


def test_run_order_is_not_that_of_registration(network):
    assert run_order(network, values(6, 3), ["last", "first"]) == ["first", "last"]
    with pytest.raises(ValueError, match="unused is not called"):
        run_order(network, values(6, 3), ["first", "unused"])
    layer = nn.Linear(3, 3).double()
    with pytest.raises(ValueError, match="0 is called 2 times in a pass; only one call can be fitted"):
        run_order(nn.Sequential(layer, layer), values(6, 3), ["0"])
