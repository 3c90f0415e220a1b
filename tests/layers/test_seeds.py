"""A seed builds the same layer in every process, and a saved state dict brings it back bit for bit."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from eugen_fields.layers import MLP, EUGenLinear, LowRankLinear, PRPLinear, SNNKLinear, fold

PRP_MATRICES = ("gaussian", "ternary", "orthogonal", "hadamard")


def networks(seed):
    """One network of every kind; low-rank and dense layers draw from torch's generator."""
    torch.manual_seed(seed)
    modules = {f"prp {matrix}": PRPLinear(8, 6, matrix=matrix, rank=1, seed=seed) for matrix in PRP_MATRICES}
    for init in ("gaussian", "rademacher", "orthogonal"):
        modules[f"eugen {init}"] = EUGenLinear(8, 6, num_features=5, order=2, init=init, seed=seed)
    modules["eugen fixed"] = EUGenLinear(8, 6, num_features=5, train_projections=False, seed=seed)
    modules["eugen unseeded"] = EUGenLinear(8, 6, num_features=5)
    modules["snnk"] = SNNKLinear(8, 6, num_features=5, seed=seed)
    modules["snnk fixed"] = SNNKLinear(8, 6, num_features=5, train_projections=False, seed=seed)
    modules["low-rank"] = LowRankLinear(8, 6, rank=2)
    options = {
        "eugen": {"train_projections": False, "num_features": 5},
        "prp": {},
        "low-rank": {"rank": 3},
        "dense": {},
        "snnk": {"train_projections": False, "num_features": 5},
    }
    for layer, own in options.items():
        modules[f"mlp {layer}"] = MLP(8, 4, 10, 6, layer=layer, skip_connections=(2,), seed=seed, **own)
    return modules


def digests(modules):
    """SHA-256 of what each network makes of fixed inputs, unfolded and folded."""
    x = torch.linspace(-1.0, 1.0, 40).view(5, 8).sin()
    outputs = {name: torch.cat([module(x), fold(module)(x)]).detach() for name, module in modules.items()}
    return {name: hashlib.sha256(y.numpy().tobytes()).hexdigest() for name, y in outputs.items()}


def report(checkpoint):
    """Digests of freshly built networks, and of networks of other seeds after loading the checkpoint."""
    loaded = networks(seed=99)
    for name, state in torch.load(checkpoint).items():
        loaded[name].load_state_dict(state)
    return {"built": digests(networks(seed=7)), "loaded": digests(loaded)}


@pytest.fixture(scope="module")
def trained():
    """Networks after some training: every parameter moved."""
    modules = networks(seed=21)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for module in modules.values():
            for parameter in module.parameters():
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return modules


@pytest.fixture(scope="module")
def other_process(trained, tmp_path_factory):
    checkpoint = tmp_path_factory.mktemp("seeds") / "networks.pt"
    torch.save({name: module.state_dict() for name, module in trained.items()}, checkpoint)
    threads = str(torch.get_num_threads())
    environment = {**os.environ, "PYTHONHASHSEED": "4711", "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    command = [sys.executable, __file__, str(checkpoint)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.mark.e2e
def test_another_process_builds_the_same_networks(other_process):
    assert other_process["built"] == digests(networks(seed=7))


@pytest.mark.e2e
def test_another_process_loads_bit_identical_networks(other_process, trained):
    assert other_process["loaded"] == digests(trained)


def test_digests_tell_networks_apart(trained):
    built, other = digests(networks(seed=7)), digests(networks(seed=8))
    assert all(built[name] != other[name] for name in built)
    assert len(set(digests(trained).values())) == len(trained)


if __name__ == "__main__":
    print(json.dumps(report(sys.argv[1])))
