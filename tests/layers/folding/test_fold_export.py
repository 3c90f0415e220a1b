"""Networks and their folded forms under torch.export and torch.compile."""

import io
import shutil

import pytest
import torch
from support.fold_checks import build, values

from eugen_fields.layers.folding import fold

FORMS = {
    "unfolded": lambda mlp: mlp,
    "folded": fold,
    "folded with seeds": lambda mlp: fold(mlp, materialise=False),
}
every_network = pytest.mark.parametrize(
    "name, form",
    [
        ("eugen order 2", "unfolded"),
        ("prp rank", "unfolded"),
        ("low-rank", "unfolded"),
        ("dense", "folded"),
        ("eugen", "folded"),
        ("eugen order 2", "folded"),
        ("prp rank", "folded with seeds"),
    ],
)


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@every_network
@pytest.mark.filterwarnings("ignore:The given buffer is not writable")
def test_exported_programs_survive_a_file(name, form):
    network = FORMS[form](build(name, skip_connections=(3,)).eval())
    x = values(4, 5)
    points = torch.export.Dim("points", min=2)
    program = torch.export.export(network, (x,), dynamic_shapes=({0: points},))
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    loaded = torch.export.load(file).module()
    for count in (4, 11):
        inputs = values(count, 5, seed=count)
        torch.testing.assert_close(loaded(inputs), network(inputs), rtol=1e-12, atol=1e-12)


@every_network
def test_traced_by_the_compiler_without_a_break(name, form):
    network = FORMS[form](build(name, skip_connections=(3,)).eval())
    compiled = torch.compile(network, backend="aot_eager", fullgraph=True)
    x = values(4, 5).requires_grad_()
    y, expected = compiled(x), network(x)
    torch.testing.assert_close(y, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(
        *(torch.autograd.grad(value.sin().sum(), x)[0] for value in (y, expected)), rtol=1e-10, atol=1e-10
    )


@pytest.mark.slow  # the first kernel takes a slow machine a minute
@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="torch.compile needs a C++ compiler")
@pytest.mark.parametrize("name", ["eugen order 2", "prp rank"])
def test_compiled_to_machine_code(name):
    network = fold(build(name, skip_connections=(3,)).eval())
    x = values(4, 5)
    torch.testing.assert_close(torch.compile(network)(x), network(x), rtol=1e-10, atol=1e-10)
