"""Where kernels run in these tests: on a GPU if torch sees one, else in Triton's interpreter.

tests/conftest.py hides GPUs from tests; `EUGEN_TEST_DEVICES=0 scripts/test.sh tests/kernels` shows them the first one.
"""

import zlib

import numpy as np
import pytest
import torch

from eugen_fields.kernels.run import launch


@pytest.fixture(scope="session", autouse=True)
def _needs_triton():
    pytest.importorskip("triton")


@pytest.fixture(scope="session")
def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@pytest.fixture(autouse=True)
def _numpy_is_quiet():
    """The interpreter computes with numpy, which warns of infinities that tests ask for."""
    with np.errstate(all="ignore"):
        yield


@pytest.fixture(autouse=True)
def _one_layout(request, monkeypatch):
    """On a GPU a test has its kernels compiled in one layout, and other tests in others: the compiler takes seconds."""
    if torch.cuda.is_available():
        block_and_warps = sorted({layout[:2] for layout in launch.LAYOUTS})
        chosen = block_and_warps[zlib.crc32(request.node.nodeid.encode()) % len(block_and_warps)]
        monkeypatch.setattr(launch, "LAYOUTS", [layout for layout in launch.LAYOUTS if layout[:2] == chosen])
