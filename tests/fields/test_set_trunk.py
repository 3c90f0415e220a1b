"""Fields whose trunk is replaced are evaluated by the new one."""

import torch

from eugen_fields.fields import NeRFField

CUBE = torch.tensor([[-1.0] * 3, [1.0] * 3])
SIZES = {"num_layers": 2, "layer_width": 16, "feature_dim": 4, "color_width": 8, "skip_connections": ()}


def test_a_field_with_the_trunk_of_another_is_that_other():
    torch.manual_seed(0)
    field, other = (NeRFField(CUBE, layer=layer, **SIZES) for layer in ("dense", "eugen"))
    field.evaluator.kernels["trunk"] = lambda x: x.new_zeros(len(x), 5)
    field.evaluator.backend = "fused"
    field.set_trunk(other.trunk)
    assert field.evaluator.kernels == {} and field.evaluator.backend == "fused"
    field.use_backend("torch")
    points = torch.rand(20, 3) - 0.5
    assert torch.equal(field.density(points)[0], other.density(points)[0])
    assert list(field.state_dict()) == list(other.state_dict()), "names keep their order, which optimisers go by"
