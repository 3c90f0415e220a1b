"""Where kernels run in these tests: on a GPU if torch sees one, else in Triton's interpreter.

tests/conftest.py hides GPUs from tests; `EUGEN_TEST_DEVICES=0 scripts/test.sh tests/kernels` shows them the first one.
"""

import numpy as np
import pytest
import torch


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
