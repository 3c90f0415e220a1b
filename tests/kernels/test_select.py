"""Which way networks are evaluated: kernels only where they are asked for, serve and agree; else torch, and a line."""

import copy
import pickle
import threading

import pytest
import torch
from support.kernel_checks import directions, isdf, nerf, points

from eugen_fields.fields import MipNeRFField, RadianceField, SDFField
from eugen_fields.fields.planes import PlaneField
from eugen_fields.kernels import FusedDistance, FusedField, FusedMLP, select
from eugen_fields.kernels.field import read_network
from eugen_fields.kernels.stages.live import live_stages
from eugen_fields.kernels.unsupported import Unsupported
from eugen_fields.methods import METHODS


@pytest.fixture(autouse=True)
def _every_line_is_new():
    select.say_once.cache_clear()
    yield
    select.say_once.cache_clear()


@pytest.fixture
def kernels_everywhere(monkeypatch):
    """Kernels are offered on the CPU too, where the interpreter runs them; none has been compared with torch yet."""
    monkeypatch.setattr(select, "_trusted", {})
    monkeypatch.setattr(select, "DEVICES", ("cuda", "cpu"))
    monkeypatch.setattr(select, "CHECKED_POINTS", 64)  # every tile costs as much as the test itself


def lines(caplog):
    return [record.getMessage() for record in caplog.records if record.name == select.__name__]


@pytest.mark.parametrize("method", METHODS)
def test_every_network_of_every_method_has_its_kernels(method):
    model = copy.deepcopy(METHODS[method].pipeline.model)
    if hasattr(model, "regime"):
        model.regime = "bounded"
    for layer in ("dense", "eugen", "prp", "low-rank"):
        model.layer = layer
        field = model.build_field(torch.tensor([[-1.0] * 3, [1.0] * 3]))
        assert live_stages(field.trunk)
        if isinstance(field, RadianceField):
            assert live_stages(field.color_head)
        if isinstance(field, PlaneField):
            with pytest.raises(Unsupported, match="no trunk and encoding that are known"):
                read_network(field)
        elif not isinstance(field, MipNeRFField):
            assert read_network(field)
        if isinstance(field, SDFField):
            assert FusedDistance(field)


def test_a_cpu_stays_in_torch_without_a_word(caplog):
    for name in ("auto", "torch"):
        assert nerf().use_backend(name).folded().evaluator.fused is None
    assert lines(caplog) == []


def test_asking_for_kernels_on_a_cpu_is_answered_once(caplog):
    for field in (nerf(), isdf(), nerf()):
        assert field.use_backend("fused").folded().evaluator.fused is None
    (line,) = lines(caplog)
    assert "CUDA" in line and "cpu" in line and "torch" in line


@pytest.mark.usefixtures("kernels_everywhere")
class TestInference:
    def test_radiance_goes_through_the_kernel(self, device, monkeypatch):
        field = nerf(device).use_backend("auto")
        folded = field.folded()
        assert folded.evaluator.fused is not None and folded.evaluator.fused.dtype == torch.float16
        p, d = points(33, device), directions(33, device)
        density, color = folded(p, d)
        plain_density, plain_color = field(p, d)
        torch.testing.assert_close(density, plain_density, rtol=5e-3, atol=0.0)
        torch.testing.assert_close(color, plain_color, rtol=0.0, atol=2e-3)
        assert not torch.equal(color, plain_color), "float16 products leave a trace"
        torch.testing.assert_close(folded.density_alone(p), density, rtol=1e-5, atol=0.0)

    def test_distance_goes_through_the_kernel(self, device):
        field = isdf(device).use_backend("auto")
        folded, p = field.folded(), points(33, device)
        assert folded.evaluator.fused is not None
        torch.testing.assert_close(folded.sdf(p), field.sdf(p), rtol=0.0, atol=1e-3)
        assert not torch.equal(folded.sdf(p), field.sdf(p))

    def test_what_wants_gradients_stays_in_torch(self, device):
        for field in (isdf(device).use_backend("auto"), nerf(device).use_backend("auto")):
            folded = field.folded()
            p = points(17, device).requires_grad_()
            value = folded.sdf(p) if hasattr(folded, "sdf") else folded.density_alone(p)
            (slope,) = torch.autograd.grad(value.sum(), p)
            assert slope.abs().max() > 0

    @pytest.mark.parametrize("mode", ["reverse", "forward"])
    def test_the_gradient_of_the_distance_goes_through_the_kernel(self, device, mode):
        field = isdf(device).use_backend("auto")
        p = points(17, device)
        distance, gradient = field.folded().sdf_and_gradient(p, mode=mode)
        plain_distance, plain_gradient = (value.detach() for value in field.sdf_and_gradient(p, mode=mode))
        torch.testing.assert_close(distance, plain_distance, rtol=0.0, atol=1e-3)
        torch.testing.assert_close(gradient, plain_gradient, rtol=0.0, atol=0.05)
        assert not torch.equal(gradient, plain_gradient)

    def test_other_types_of_numbers_stay_in_torch(self, device):
        folded = nerf(device).use_backend("auto").folded()
        assert folded.evaluator.fused is not None
        assert not folded.evaluator.fused.serves(points(3, device).double())
        assert folded.evaluator.fused.serves(points(3, device))

    def test_torch_means_torch(self, device):
        assert nerf(device).use_backend("torch").folded().evaluator.fused is None

    def test_what_cannot_be_fused_is_named_once(self, device, caplog):
        field = nerf(device, layer="eugen", num_features=16, order=3).use_backend("auto")
        assert field.folded().evaluator.fused is None and field.folded().evaluator.fused is None
        (line,) = lines(caplog)
        assert "order 3" in line and "torch" in line
        mip = MipNeRFField(torch.tensor([[-1.0] * 3, [1.0] * 3]), bounded=True, num_layers=2, layer_width=32)
        assert mip.folded().evaluator.fused is None
        assert "MipNeRFField" in lines(caplog)[1]

    def test_a_kernel_that_fails_is_not_used(self, device, caplog, monkeypatch):
        def broken(*args):
            raise RuntimeError("out of shared memory\nmore")

        monkeypatch.setattr(FusedField, "density_and_color", broken)
        assert nerf(device).use_backend("auto").folded().evaluator.fused is None
        (line,) = lines(caplog)
        assert "RuntimeError: out of shared memory)" in line

    @pytest.mark.parametrize("fault", [lambda x: 1.2 * x, lambda x: x * float("nan")])
    def test_a_kernel_that_computes_something_else_is_not_used(self, device, caplog, monkeypatch, fault):
        original = FusedField.density
        monkeypatch.setattr(FusedField, "density", lambda self, p: fault(original(self, p)))
        assert nerf(device).use_backend("auto").folded().evaluator.fused is None
        assert "off by" in lines(caplog)[0]

    def test_sources_that_proved_right_are_trusted_for_a_while(self, device, monkeypatch):
        compared = []
        original = select._field_difference
        monkeypatch.setattr(select, "_field_difference", lambda *args: compared.append(args) or original(*args))
        monkeypatch.setattr(select, "TRUSTED_CALLS", 2)
        field, times = nerf(device).use_backend("auto"), []
        for _ in range(5):
            with torch.no_grad():
                field.trunk.layers[0].weight.mul_(0.9)  # other numbers, the same sources
            assert field.folded().evaluator.fused is not None
            times.append(len(compared))
        once = times[0]
        assert times == [once, once, once, 2 * once, 2 * once]
        assert nerf(device, num_layers=1, skip_connections=()).use_backend("auto").folded().evaluator.fused is not None
        assert len(compared) == 3 * once, "another source"

    @pytest.mark.parametrize("make", [nerf, isdf])
    def test_numbers_that_leave_float16_are_found_in_trusted_sources(self, device, caplog, make):
        field = make(device, layer="dense").use_backend("auto")
        assert field.folded().evaluator.fused is not None
        with torch.no_grad():
            field.trunk.layers[0].weight.mul_(3e5)
            field.trunk.layers[1].weight.mul_(1e-4)
        assert field.folded().evaluator.fused is None and "off by nan" in lines(caplog)[0]

    def test_large_batches_are_compared_too_where_their_tiles_are_others(self, device, monkeypatch):
        """As on a GPU, where the comparison also chooses the tiles before the clock of a training runs."""
        monkeypatch.setattr(select, "_counts", lambda network: (16, 70))
        sizes = []
        original = FusedField.density_and_color
        monkeypatch.setattr(
            FusedField,
            "density_and_color",
            lambda self, points, directions: sizes.append(len(points)) or original(self, points, directions),
        )
        field = nerf(device).train().use_backend("auto")
        field.prepare_training()
        assert sizes == [16, 70] and field.folded().evaluator.fused is not None

    def test_values_beyond_float16_are_left_to_torch(self, device, caplog):
        field = isdf(device, layer="dense").use_backend("auto")
        with torch.no_grad():
            field.trunk.layers[0].weight.mul_(3e5)
            field.trunk.layers[1].weight.mul_(1e-4)
        folded = field.folded()
        assert folded.evaluator.fused is None and "off by" in lines(caplog)[0]
        assert folded.sdf(points(9, device)).isfinite().all()

    def test_the_check_draws_nothing_from_the_common_generator(self, device):
        field = nerf(device).use_backend("auto")
        torch.manual_seed(7)
        field.folded()
        after = torch.rand(3)
        torch.manual_seed(7)
        assert torch.equal(after, torch.rand(3))


@pytest.mark.usefixtures("kernels_everywhere")
class TestTraining:
    def gradients(self, field, device):
        field.zero_grad()
        density, color = field(points(33, device), directions(33, device))
        (density.log().sum() + color.square().sum()).backward()
        return {name: p.grad.clone() for name, p in field.named_parameters()}

    def test_as_many_outputs_as_the_methods_have(self, device):
        """Density and 256 features: more than a hidden stage may have."""
        trunk = nerf(device, layer="dense", num_layers=1, skip_connections=(), feature_dim=256).trunk
        assert select.fused_training(trunk, "fused") is not None

    @pytest.mark.parametrize("layer", ["dense", "eugen", "prp"])
    def test_gradients_come_from_the_kernels(self, device, layer):
        field = nerf(device, layer=layer, **({"num_features": 16} if layer == "eugen" else {})).train()
        plain = self.gradients(field.use_backend("torch"), device)
        fused = self.gradients(field.use_backend("fused"), device)
        assert all(isinstance(kernel, FusedMLP) for kernel in field.evaluator.kernels.values())
        assert set(field.evaluator.kernels) == {"trunk", "color_head"}
        for name, gradient in plain.items():
            error = (fused[name] - gradient).norm() / gradient.norm().clamp(min=1e-6)
            assert error < 0.2, name  # bfloat16 operands, and relu switches where they round across 0
        assert any(not torch.equal(fused[name], plain[name]) for name in plain)

    def test_losses_on_distance_and_gradient_go_through_the_kernels(self, device, monkeypatch):
        monkeypatch.setattr(select, "CHECKED_POINTS", 256)  # corners that rounding crosses count less among many points
        field = isdf(device, layer="eugen", num_features=16).train()

        def gradients(name):
            field.use_backend(name).zero_grad()
            distance, slope = field.sdf_and_gradient(points(16, device))
            (distance.sum() + (slope.norm(dim=-1) - 1.0).square().sum()).backward()
            return {name: p.grad.clone() for name, p in field.named_parameters()}

        plain, fused = gradients("torch"), gradients("fused")
        assert isinstance(field.evaluator.kernels["distance"], FusedDistance)
        for name, gradient in plain.items():
            assert (fused[name] - gradient).norm() / gradient.norm().clamp(min=1e-6) < 0.3, name
        assert any(not torch.equal(fused[name], plain[name]) for name in plain)

    def test_kernels_are_there_before_the_first_step(self, device):
        for field, names in ((nerf(device), {"trunk", "color_head"}), (isdf(device), {"distance"})):
            field.train().use_backend("fused").prepare_training()
            made = dict(field.evaluator.kernels)
            assert set(made) == names and None not in made.values()
            if names == {"distance"}:
                field.sdf_and_gradient(points(5, device))
            else:
                self.gradients(field, device)
            assert field.evaluator.kernels == made
        plain = nerf(device).train().use_backend("auto")
        plain.prepare_training()
        assert plain.evaluator.kernels == {}

    def test_copies_make_kernels_of_their_own(self, device):
        field = nerf(device).train().use_backend("fused")
        field.prepare_training()
        field.evaluator.kernels["trunk"]._graphs._captured["shape"] = (
            threading.Lock()
        )  # like a CUDA graph, not to be copied
        for make in (copy.deepcopy, copy.copy, lambda module: pickle.loads(pickle.dumps(module))):
            assert make(field).evaluator.kernels == {} and len(field.evaluator.kernels) == 2
        assert field.folded().evaluator.kernels == {}

    def test_auto_trains_in_torch(self, device):
        field = nerf(device).use_backend("auto").train()
        self.gradients(field, device)
        assert field.evaluator.kernels == {}

    def test_evaluation_does_not_go_through_them(self, device):
        field = nerf(device).use_backend("fused").eval()
        self.gradients(field, device)
        assert field.evaluator.kernels == {}

    def test_a_kernel_that_computes_something_else_is_not_used(self, device, caplog, monkeypatch):
        original = FusedMLP.__call__
        monkeypatch.setattr(FusedMLP, "__call__", lambda self, x: 1.5 * original(self, x))
        field = nerf(device).train()
        plain = self.gradients(field.use_backend("torch"), device)
        fused = self.gradients(field.use_backend("fused"), device)
        assert all(torch.equal(plain[name], fused[name]) for name in plain)
        assert any("trained in plain torch" in line for line in lines(caplog))

    def test_what_cannot_be_trained_so_is_named(self, device, caplog):
        field = nerf(device, layer="eugen", num_features=16, feature_activation="sine").use_backend("fused").train()
        self.gradients(field, device)
        assert field.evaluator.kernels["trunk"] is None and field.evaluator.kernels["color_head"] is not None
        assert any("sine" in line and "trained in plain torch" in line for line in lines(caplog))

    def test_the_state_dict_is_the_same(self, device):
        field = nerf(device).use_backend("fused").train()
        names = list(field.state_dict())
        self.gradients(field, device)
        assert list(field.state_dict()) == names
