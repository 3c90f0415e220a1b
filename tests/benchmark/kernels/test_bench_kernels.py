"""eugen-bench kernels: every kernel is compared, and what is off or fails is told apart from what agrees."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from eugen_fields.benchmark.kernels import Kernels
from eugen_fields.benchmark.kernels.kernel_cases import cases, within
from eugen_fields.errors import InputError
from eugen_fields.kernels import FusedField, FusedMLP


@pytest.fixture(autouse=True)
def _interpreter():
    """Kernels run in Triton's interpreter, whose numpy warns of infinities."""
    pytest.importorskip("triton")
    with np.errstate(all="ignore"):
        yield


def bench(path: Path, *only: str) -> Kernels:
    return Kernels(device="cpu", rows=17, only=only, json=path / "kernels.json")


def test_there_are_kernels_for_all_that_methods_have() -> None:
    names = [(case.name, case.dtype) for case in cases()]
    assert len(names) == len(set(names)) == 13
    assert [case.group for case in cases()] == sorted(case.group for case in cases())
    for word in ("eugen", "dense", "iSDF", "prp-hadamard", "training, iSDF", "trunk", "color head"):
        assert any(word in name for name, _ in names), word


def test_kernels_agree_and_are_not_compared_twice(tmp_path: Path, capsys, monkeypatch) -> None:
    names = ("eugen, m = 32, float16", "training, eugen, m = 64, color head")
    bench(tmp_path, *names).main()
    document = json.loads((tmp_path / "kernels.json").read_text())
    assert [run["agrees"] for run in document["runs"]] == [True, True]
    for run in document["runs"]:
        assert set(run["errors"]) == set(run["limits"]) and run["rows"] == 17
        off = [error for name, error in run["errors"].items() if name != "equal calls"]
        assert all(1e-7 < error < 0.1 for error in off), "operands of two bytes leave a trace"
    assert document["figures"]["copy_terabytes_per_second"] > 0
    assert "| eugen, m = 32 | float16 | yes |" in capsys.readouterr().out
    monkeypatch.setattr(FusedField, "density", lambda *_: 1 / 0)
    bench(tmp_path, *names).main()
    assert json.loads((tmp_path / "kernels.json").read_text()) == document


def test_kernels_that_are_off_or_fail_are_named(tmp_path: Path, capsys, monkeypatch) -> None:
    density, call = FusedField.density, FusedMLP.__call__
    monkeypatch.setattr(FusedField, "density", lambda self, points: 1.2 * density(self, points))
    monkeypatch.setattr(FusedMLP, "__call__", lambda self, x: call(self, x) * math.nan)

    def fails(*_):
        raise RuntimeError("out of shared memory\nand more")

    monkeypatch.setattr(FusedField, "sdf", fails)
    with pytest.raises(SystemExit) as ended:
        bench(tmp_path, "eugen, m = 32, float16", "training, eugen, m = 64, color head", "iSDF, float16").main()
    assert ended.value.code == 1
    runs = {run["kernel"]: run for run in json.loads((tmp_path / "kernels.json").read_text())["runs"]}
    assert not any(run["agrees"] for run in runs.values()) and len(runs) == 3
    assert runs["eugen, m = 32"]["errors"]["density"] < 0.004 < runs["eugen, m = 32"]["errors"]["density alone"]
    assert runs["iSDF"]["error"] == "RuntimeError: out of shared memory"
    assert "| NO | RuntimeError: out of shared memory" in capsys.readouterr().out


def test_limits_hold_numbers_alone() -> None:
    assert within({"a": 0.1, "b": 0.0}, {"a": 0.1, "b": 0.0})
    assert not within({"a": 0.11}, {"a": 0.1}) and not within({"a": math.nan}, {"a": 0.1})


def test_no_rows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--rows 0"):
        Kernels(device="cpu", rows=0, json=tmp_path / "kernels.json").main()
