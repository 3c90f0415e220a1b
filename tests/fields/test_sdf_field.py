"""SDFField: its frame, its gradient in both modes against finite differences and each other, its inference form."""

import math

import pytest
import torch

from eugen_fields.fields import SDFField
from eugen_fields.kernels import TiledMLP
from eugen_fields.layers import LAYER_KINDS, EUGenLinear

CENTER = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
AABB = torch.stack([CENTER - 3.0, CENTER + 3.0])
KINDS = {
    "dense": {},
    "eugen": {"num_features": 6},
    "eugen-residual": {"num_features": 6},
    "prp": {"rank": 1},
    "low-rank": {"rank": 3},
    "snnk": {"num_features": 6},
}
VARIANTS = {name: {"layer": name, **options} for name, options in KINDS.items()} | {
    "eugen, order 2, smooth": {"layer": "eugen", "num_features": 5, "order": 2, "feature_activation": "softplus100"},
    "eugen, order 3, shared": {"layer": "eugen", "num_features": 4, "order": 3, "share_projections": True},
    "eugen, no norm, fixed": {"layer": "eugen", "num_features": 6, "norm": False, "train_projections": False},
    "eugen-residual, smooth": {"layer": "eugen-residual", "num_features": 5, "feature_activation": "softplus100"},
    "eugen-residual, in some": {"layer": "eugen-residual", "num_features": 5, "replace": (2, 3)},
    "prp, hadamard": {"layer": "prp", "matrix": "hadamard"},
}
SMALL = {"num_layers": 4, "layer_width": 12, "position_frequencies": 3, "skip_connections": (2,), "scale": 0.15}
every_kind = pytest.mark.parametrize("layer", KINDS)
every_variant = pytest.mark.parametrize("variant", VARIANTS)
every_mode = pytest.mark.parametrize("mode", ["reverse", "forward"])
ACTIVATIONS = ["softplus100", "relu", "softplus", "silu", "sine"]
every_activation = pytest.mark.parametrize("activation", ACTIVATIONS)
# a smooth activation and one with corners in every variant, the others in two: they act on dense layers alone
variants_and_activations = pytest.mark.parametrize(
    "variant, activation",
    [
        *((variant, activation) for variant in VARIANTS for activation in ACTIVATIONS[:2]),
        *((variant, activation) for variant in ("dense", "eugen") for activation in ACTIVATIONS[2:]),
    ],
)


def make_field(layer="eugen", **options):
    torch.manual_seed(0)
    field = SDFField(AABB, **{**SMALL, "layer": layer, **KINDS.get(layer, {}), **options}).double()
    field.aabb.copy_(AABB)  # exactly, not as float32 holds it
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in field.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator).to(parameter))
    return field


def make_points(count=40, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return CENTER + 3.0 * torch.randn(count, 3, generator=generator, dtype=torch.float64)


def central_differences(function, points, step=1e-6):
    """d function / d points for a function that maps (N, 3) to (N, ...), shape (N, ..., 3)."""
    columns = []
    for axis in torch.eye(3, dtype=points.dtype):
        columns.append((function(points + step * axis) - function(points - step * axis)) / (2.0 * step))
    return torch.stack(columns, dim=-1)


def loss_of(distance, gradient):
    """Depends on every entry of both, with second derivatives."""
    return ((gradient.norm(dim=-1) - 1.0).abs() + 0.3 * gradient[:, 1] * distance + distance.square()).mean()


def parameter_gradients(field, points, mode):
    field.zero_grad()
    loss_of(*field.sdf_and_gradient(points, mode=mode)).backward()
    return {name: parameter.grad for name, parameter in field.named_parameters()}


def test_all_kinds_are_covered_here():
    assert set(KINDS) == set(LAYER_KINDS)


@every_kind
@pytest.mark.parametrize("count", [0, 1, 40])
def test_shapes_and_dtypes(layer, count):
    field = make_field(layer).float()
    points = make_points(count).float()
    distance, gradient = field.sdf_and_gradient(points)
    assert distance.shape == (count,) and gradient.shape == (count, 3)
    assert distance.dtype == gradient.dtype == torch.float32
    assert torch.equal(field(points), distance) and torch.equal(field.sdf(points), distance)
    assert torch.equal(field.forward_geonetwork(points), distance[:, None])


@every_variant
@every_mode
def test_gradient_is_that_of_finite_differences(variant, mode):
    field = make_field(**VARIANTS[variant], activation="softplus")
    points = make_points()
    gradient = field.sdf_and_gradient(points, mode=mode)[1]
    expected = central_differences(field, points)
    assert float(gradient.detach().norm(dim=-1).median()) > 1e-3
    torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=1e-8)


@every_activation
@every_mode
def test_gradient_holds_for_every_activation(activation, mode):
    field = make_field("eugen", activation=activation, replace=(2,), feature_activation="softplus100")
    points = make_points(200)
    gradient = field.sdf_and_gradient(points, mode=mode)[1]
    expected = central_differences(field, points)
    close = (gradient - expected).abs().amax(dim=-1) < 1e-5 * expected.abs().max()
    # the difference of a relu network may straddle a corner, with a probability of about 1e-6 a neuron
    assert int((~close).sum()) <= (1 if activation == "relu" else 0)


@every_variant
@every_mode
def test_second_derivatives_are_those_of_finite_differences(variant, mode):
    field = make_field(**VARIANTS[variant], activation="softplus")
    points = make_points(10).requires_grad_()
    gradient = field.sdf_and_gradient(points, mode=mode)[1]
    hessian = torch.stack(
        [torch.autograd.grad(gradient[:, axis].sum(), points, retain_graph=True)[0] for axis in range(3)], dim=1
    )
    expected = central_differences(lambda p: field.sdf_and_gradient(p)[1].detach(), points.detach())
    assert float(expected.abs().max()) > 1e-4
    torch.testing.assert_close(hessian, expected, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(hessian, hessian.mT, rtol=1e-8, atol=1e-12)


@variants_and_activations
def test_forward_mode_equals_reverse_mode(variant, activation):
    field = make_field(**VARIANTS[variant], activation=activation)
    points = make_points()
    for value, expected in zip(
        field.sdf_and_gradient(points, mode="forward"), field.sdf_and_gradient(points, mode="reverse")
    ):
        torch.testing.assert_close(value, expected, rtol=1e-10, atol=1e-12)
    forward, reverse = parameter_gradients(field, points, "forward"), parameter_gradients(field, points, "reverse")
    for name, expected in reverse.items():
        assert expected is not None and float(expected.abs().max()) > 0, name
        torch.testing.assert_close(forward[name], expected, rtol=1e-8, atol=1e-12)


@every_kind
@every_mode
def test_parameter_gradients_of_a_gradient_loss_are_those_of_finite_differences(layer, mode):
    field = make_field(layer, activation="softplus")
    points = make_points(20)
    gradients = parameter_gradients(field, points, mode)
    generator = torch.Generator().manual_seed(4)
    directions = {
        name: torch.randn(parameter.shape, generator=generator).to(parameter)
        for name, parameter in field.named_parameters()
    }
    losses = []
    for step in (1e-5, -2e-5):
        with torch.no_grad():
            for name, parameter in field.named_parameters():
                parameter.add_(directions[name], alpha=step)
        losses.append(float(loss_of(*field.sdf_and_gradient(points, mode=mode)).detach()))
    expected = (losses[0] - losses[1]) / 2e-5
    measured = sum(float((gradients[name] * directions[name]).sum()) for name in directions)
    assert measured == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("variant", ["dense", "eugen", "eugen, order 2, smooth", "prp"])
@every_mode
def test_gradgradcheck(variant, mode):
    options = {**VARIANTS[variant], "layer_width": 5, "num_layers": 3, "position_frequencies": 1}
    if options["layer"] == "eugen":
        options["feature_activation"] = "silu"
    field = make_field(**options, activation="softplus")
    points = make_points(3).requires_grad_()
    assert torch.autograd.gradcheck(field, (points,))
    assert torch.autograd.gradgradcheck(field, (points,))
    assert torch.autograd.gradcheck(lambda p: field.sdf_and_gradient(p, mode=mode)[1], (points,))


@every_variant
@every_mode
def test_layers_that_read_zeros_have_finite_gradients(variant, mode):
    # |0| has no derivative, and neither have the products of dead features
    field = make_field(**VARIANTS[variant], activation="relu")
    with torch.no_grad():
        field.trunk.layers[0].weight.zero_()
        field.trunk.layers[0].bias.fill_(-1.0)
    points = make_points(5)
    points[0] = CENTER
    for name, gradient in parameter_gradients(field, points, mode).items():
        assert bool(torch.isfinite(gradient).all()), name
    distance, gradient = field.sdf_and_gradient(points, mode=mode)
    assert bool(torch.isfinite(distance).all()) and bool(torch.isfinite(gradient).all())


@every_mode
def test_nothing_is_kept_for_backward_without_gradients(mode):
    field = make_field()
    points = make_points()
    with torch.no_grad():
        distance, gradient = field.sdf_and_gradient(points, mode=mode)
    assert not distance.requires_grad and not gradient.requires_grad and not points.requires_grad
    expected = field.sdf_and_gradient(points, mode=mode)
    assert torch.equal(distance, expected[0]) and torch.equal(gradient, expected[1])


@every_mode
def test_gradients_reach_poses(mode):
    field = make_field(activation="softplus")
    points = make_points()
    shift = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    distance, gradient = field.sdf_and_gradient(points + shift, mode=mode)
    (of_distance,) = torch.autograd.grad(distance.sum(), shift, retain_graph=True)
    torch.testing.assert_close(of_distance, gradient.detach().sum(dim=0))
    (of_gradient,) = torch.autograd.grad(gradient.sum(), shift)
    assert float(of_gradient.abs().max()) > 0


def test_unknown_mode_is_refused():
    with pytest.raises(ValueError, match="mode is 'sideways'"):
        make_field().sdf_and_gradient(make_points(), mode="sideways")


def test_waves_have_the_lengths_that_the_class_states():
    field = make_field(scale=0.25)
    octaves = SMALL["position_frequencies"]
    # the icosahedron of the encoding, one of whose directions the points go along
    direction = field.position_encoding.basis[:, 4]
    along = torch.linspace(0.0, 3.0, 17, dtype=torch.float64)
    encoded = field.encode(CENTER + along[:, None] * direction)
    for octave in range(octaves):
        sines = encoded[:, 3 + 21 * octave + 4]
        wave = 2.0 / 0.25 / 2**octave
        torch.testing.assert_close(sines, torch.sin(2.0 * math.pi * along / wave), rtol=0, atol=1e-6)
    torch.testing.assert_close(encoded[:, :3], 0.25 * along[:, None] * direction)


def test_fields_of_moved_and_scaled_scenes_see_the_same():
    field = make_field()
    shift = torch.tensor([3.0, -1.0, 2.0], dtype=torch.float64)
    moved = make_field(scale=SMALL["scale"] / 4.0)
    moved.aabb.copy_(4.0 * AABB + shift)
    points = make_points()
    torch.testing.assert_close(moved(4.0 * points + shift), field(points), rtol=1e-6, atol=1e-7)


def test_output_scale_is_metres_per_unit():
    small, large = make_field(output_scale=0.1), make_field(output_scale=0.3)
    points = make_points()
    torch.testing.assert_close(large(points), 3.0 * small(points))
    torch.testing.assert_close(small(points), 0.1 * small.trunk(small.encode(points))[:, 0])


def test_dense_parameter_count_is_that_of_the_published_network():
    assert sum(parameter.numel() for parameter in SDFField(AABB, layer="dense").parameters()) == 460_033


def test_replaced_layers_are_those_named():
    field = SDFField(AABB, layer_width=16, layer="eugen", replace=(2, 4), num_features=4)
    assert [type(layer) is EUGenLinear for layer in field.trunk.layers] == [i in (2, 4) for i in range(7)]


@every_activation
def test_normals_are_unit_gradients(activation):
    field = make_field(activation=activation)
    points = make_points()
    normals = field.normals(points)
    gradient = field.sdf_and_gradient(points)[1]
    torch.testing.assert_close(normals.norm(dim=-1), torch.ones(len(points), dtype=torch.float64))
    torch.testing.assert_close(normals * gradient.norm(dim=-1, keepdim=True), gradient)


def test_evaluation_by_chunks_equals_evaluation_at_once():
    field = make_field()
    points = make_points(60).view(4, 15, 3)
    whole = field(points.view(-1, 3)).detach().view(4, 15)
    seen = []
    field.trunk.register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
    chunked = field.evaluate(points, chunk_size=7)
    assert chunked.shape == (4, 15) and not chunked.requires_grad
    assert max(seen) == 7
    torch.testing.assert_close(chunked, whole, rtol=1e-12, atol=1e-12)
    assert field.evaluate(points[:0]).shape == (0, 15)


@variants_and_activations
def test_folded_field_has_the_same_values_and_gradients(variant, activation):
    field = make_field(**VARIANTS[variant], activation=activation)
    folded = field.folded()
    assert isinstance(folded, SDFField) and isinstance(folded.trunk, TiledMLP) and not list(folded.parameters())
    points = make_points()
    distance, gradient = (value.detach() for value in field.sdf_and_gradient(points))
    for mode in ("reverse", "forward"):
        folded_distance, folded_gradient = folded.sdf_and_gradient(points, mode=mode)
        torch.testing.assert_close(folded_distance.detach(), distance, rtol=1e-9, atol=1e-10)
        torch.testing.assert_close(folded_gradient.detach(), gradient, rtol=1e-8, atol=1e-9)


def test_state_dict_restores_the_field_and_its_frame():
    field = make_field("eugen", train_projections=False)
    other = SDFField(torch.zeros(2, 3), **{**SMALL, "scale": 1.0}, num_features=6, train_projections=False).double()
    other.load_state_dict(field.state_dict())
    points = make_points()
    assert torch.equal(other(points), field(points))


@pytest.mark.parametrize(
    "options, message",
    [
        ({"scale": 0.0}, "scale is 0.0"),
        ({"output_scale": -1.0}, "output_scale is -1.0"),
        ({"layer": "sparse"}, "layer is 'sparse'"),
        ({"activation": "swoosh"}, "activation is 'swoosh'"),
        ({"skip_connections": (9,)}, "skip_connections names layer 9"),
        ({"num_features": 0}, "num_features is 0"),
        ({"position_frequencies": -1}, "num_frequencies is -1"),
    ],
)
def test_wrong_options_are_refused_by_name(options, message):
    with pytest.raises(ValueError, match=message):
        SDFField(AABB, **{**SMALL, **options})
