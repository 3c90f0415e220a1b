"""Networks and encodings through tiny-cuda-nn: the real one on a GPU that has it, else a stand-in with its layout."""

import copy
import importlib.util
import math
import sys
from types import ModuleType

import pytest
import torch
from support.kernel_checks import directions, isdf, nerf, points
from torch import nn

from eugen_fields.encodings import FrequencyEncoding
from eugen_fields.fields import MipNeRFField
from eugen_fields.kernels import TinyCudaMLP, Unsupported, select
from eugen_fields.kernels.tiny_cuda import TinyCudaEncoding, clear_biases
from eugen_fields.layers import MLP

FUNCTIONS = {"None": lambda z: z, "ReLU": torch.relu, "Sigmoid": torch.sigmoid}


def up(size):
    return -(-size // 16) * 16


class Network(nn.Module):
    """What tiny-cuda-nn documents: float16, inputs filled up with ones, matrices row by row, outputs filled up."""

    made: list[dict] = []

    def __init__(self, n_input_dims, n_output_dims, network_config):
        super().__init__()
        width, hidden = network_config["n_neurons"], network_config["n_hidden_layers"]
        assert hidden >= 1 and width % 16 == 0
        assert network_config["otype"] != "FullyFusedMLP" or width in (16, 32, 64, 128)
        sizes = [(width, up(n_input_dims)), *[(width, width)] * (hidden - 1), (up(n_output_dims), width)]
        self.sizes, self.n_input_dims, self.n_output_dims = sizes, n_input_dims, n_output_dims
        self.config = network_config
        self.params = nn.Parameter(torch.full((sum(rows * columns for rows, columns in sizes),), math.nan))
        Network.made.append(network_config)

    def forward(self, x):
        assert x.shape[1] == self.n_input_dims and len(self.params) == sum(a * b for a, b in self.sizes)
        h = nn.functional.pad(x.float(), (0, self.sizes[0][1] - x.shape[1]), value=1.0).half()
        start = 0
        for index, (rows, columns) in enumerate(self.sizes):
            weight = self.params[start : start + rows * columns].view(rows, columns).half()
            start += rows * columns
            last = index == len(self.sizes) - 1
            function = FUNCTIONS[self.config["output_activation" if last else "activation"]]
            h = function(h.float() @ weight.float().t()).half()
        return h[:, : self.n_output_dims]


class Encoding(nn.Module):
    """Its frequency encoding: by coordinate, then octave, then sine and cosine; rows are filled up."""

    def __init__(self, n_input_dims, encoding_config, dtype):
        super().__init__()
        assert encoding_config["otype"] == "Frequency" and dtype is torch.float32
        self.octaves = encoding_config["n_frequencies"]

    def forward(self, x):
        angles = math.pi * 2.0 ** torch.arange(self.octaves, device=x.device) * x[..., None]
        waves = torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)
        return nn.functional.pad(waves, (0, up(waves.shape[1]) - waves.shape[1]), value=1.0)


@pytest.fixture
def tinycudann(device, monkeypatch):
    monkeypatch.setattr(select, "DEVICES", ("cuda", "cpu"))
    Network.made = []
    if device.type == "cuda" and importlib.util.find_spec("tinycudann"):
        return
    module = ModuleType("tinycudann")
    module.Network, module.Encoding = Network, Encoding  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tinycudann", module)


def dense(device="cpu", width=64, skip_connections=(2,), **options):
    torch.manual_seed(0)
    mlp = MLP(27, 5, width, 41, layer="dense", skip_connections=skip_connections, **options).to(device)
    clear_biases(mlp)
    return mlp


@pytest.mark.usefixtures("tinycudann")
class TestNetworks:
    @pytest.mark.parametrize("skip_connections", [(), (1,), (2, 3), (4,), (1, 3)])
    @pytest.mark.parametrize("width", [16, 64, 144])
    def test_values_and_gradients_are_those_of_torch(self, width, skip_connections, device):
        mlp = dense(device, width, skip_connections, out_activation="sigmoid")
        x = torch.randn(33, 27, device=device, requires_grad=True)
        weights = [layer.weight for layer in mlp.layers]
        fast, plain = TinyCudaMLP(mlp)(x), mlp(x)
        assert fast.dtype == torch.float32 and fast.shape == plain.shape
        torch.testing.assert_close(fast, plain, rtol=0.0, atol=5e-3)
        assert not torch.equal(fast, plain), "float16 products leave a trace"
        direction = torch.randn_like(plain)
        for mine, expected in zip(*(torch.autograd.grad(y, [x, *weights], direction) for y in (fast, plain))):
            # a relu whose argument is rounded across 0 switches
            assert (mine - expected).norm() <= 0.2 * expected.norm()

    def test_weights_are_read_at_every_call(self, device):
        mlp, x = dense(device), torch.randn(5, 27, device=device)
        network = TinyCudaMLP(mlp)
        before = network(x)
        with torch.no_grad():
            mlp.layers[3].weight.mul_(2.0)
        assert not torch.equal(network(x), before)

    def test_narrow_networks_are_fully_fused(self, device):
        if "tinycudann" not in sys.modules or not hasattr(sys.modules["tinycudann"], "Network"):
            pytest.skip("the real one does not tell")
        TinyCudaMLP(dense(device, 64, ()))
        TinyCudaMLP(dense(device, 256, ()))
        if Network.made:
            assert [made["otype"] for made in Network.made] == ["FullyFusedMLP", "CutlassMLP"]

    def test_encodings_are_those_of_torch(self, device):
        encoding, x = FrequencyEncoding(3, 6).to(device), 2 * torch.rand(50, 3, device=device) - 1
        torch.testing.assert_close(TinyCudaEncoding(encoding)(x), encoding(x), rtol=0.0, atol=1e-3)

    @pytest.mark.parametrize(
        "options, reason",
        [
            ({"layer": "prp"}, "no PRPLinear"),
            ({"layer": "dense", "activation": "silu"}, "no activation silu"),
            ({"layer": "dense", "layer_width": 40}, "40 wide"),
        ],
    )
    def test_reasons_against_it(self, options, reason):
        mlp = MLP(5, 3, **({"layer_width": 32} | options), out_dim=2)
        if mlp.layer == "dense":
            clear_biases(mlp)
        with pytest.raises(Unsupported, match=reason):
            TinyCudaMLP(mlp)

    def test_biases_are_a_reason_against_it(self):
        mlp = dense()
        TinyCudaMLP(mlp)
        with torch.no_grad():
            mlp.layers[1].bias[3] = 0.1
        with pytest.raises(Unsupported, match="layer 1 has a bias"):
            TinyCudaMLP(mlp)


def prepared(field):
    return field.use_backend("tcnn")


@pytest.mark.usefixtures("tinycudann")
class TestFields:
    def test_training_and_evaluation_go_through_it(self, device, monkeypatch):
        field = prepared(nerf(device, layer="dense")).train()
        reference = copy.deepcopy(field)
        reference.use_backend("torch")
        p, d = points(65, device), directions(65, device)
        density, color = field(p, d)
        assert {type(kernel) for kernel in field.evaluator.kernels.values()} == {TinyCudaMLP, TinyCudaEncoding}
        assert set(field.evaluator.kernels) == {"trunk", "color_head", "position_encoding", "direction_encoding"}
        plain_density, plain_color = reference(p, d)
        torch.testing.assert_close(density, plain_density, rtol=2e-2, atol=0.0)
        torch.testing.assert_close(color, plain_color, rtol=0.0, atol=5e-3)
        (density.log().sum() + color.sum()).backward()
        for name, parameter in field.named_parameters():
            assert (parameter.grad is None) == name.endswith("bias"), name
        with torch.no_grad():
            for parameter in field.parameters():
                parameter -= 0.0 if parameter.grad is None else 1e-3 * parameter.grad
        folded = field.eval().folded()
        assert folded.evaluator.fused is None and folded.evaluator.kernels is not field.evaluator.kernels
        with torch.no_grad():
            torch.testing.assert_close(folded(p, d)[1], field(p, d)[1], rtol=0.0, atol=0.0)
            before = folded(p, d)[1]
            field.trunk.layers[0].weight.mul_(2.0)
            assert torch.equal(folded(p, d)[1], before), "a folded field is a copy"
        assert isinstance(folded.evaluator.kernels["trunk"], TinyCudaMLP)
        assert not any(parameter.requires_grad for parameter in folded.trunk.parameters())

    def test_mip_nerf_fields_too(self, device):
        aabb = torch.tensor([[-1.0] * 3, [1.0] * 3])
        field = prepared(MipNeRFField(aabb, bounded=True, num_layers=2, layer_width=32, layer="dense").to(device))
        names = {name for name, network in field.named_children() if type(network) is MLP}
        field.train().prepare_training()
        assert set(field.evaluator.kernels) == names and all(
            isinstance(k, TinyCudaMLP) for k in field.evaluator.kernels.values()
        )

    def test_other_layers_stay_in_torch_and_are_named(self, device, caplog):
        select.say_once.cache_clear()
        field = prepared(nerf(device, layer="eugen", num_features=16))
        density, _ = field.folded()(points(5, device), directions(5, device))
        assert bool(density.isfinite().all())
        lines = [record.getMessage() for record in caplog.records if record.name == select.__name__]
        assert any("EUGenLinear" in line and "plain torch" in line for line in lines)

    def test_what_computes_something_else_is_not_used(self, device, monkeypatch):
        original = TinyCudaMLP.__call__
        monkeypatch.setattr(TinyCudaMLP, "__call__", lambda self, x: 1.5 * original(self, x))
        field = prepared(nerf(device, layer="dense"))
        field.prepare_training()
        assert set(field.evaluator.kernels.values()) == {None}


def test_without_it_a_line_says_so(device, monkeypatch, caplog):
    select.say_once.cache_clear()
    monkeypatch.setattr(select, "DEVICES", ("cuda", "cpu"))
    monkeypatch.setitem(sys.modules, "tinycudann", None)  # an import of it raises
    field = prepared(nerf(device, layer="dense"))
    density, _ = field(points(5, device), directions(5, device))
    assert bool(density.isfinite().all()) and set(field.evaluator.kernels.values()) == {None}
    lines = [record.getMessage() for record in caplog.records if record.name == select.__name__]
    assert len(lines) == 1 and "tiny-cuda-nn cannot be imported" in lines[0]


def test_an_extension_that_does_not_load_is_named(monkeypatch):
    def broken(name):
        raise OSError("libcudart.so.11.0: cannot open shared object file")

    monkeypatch.setattr("importlib.import_module", broken)
    with pytest.raises(Unsupported, match="libcudart"):
        TinyCudaMLP(dense())


def test_signed_distance_refuses_it():
    with pytest.raises(ValueError, match="auto, fused or torch"):
        prepared(isdf())
