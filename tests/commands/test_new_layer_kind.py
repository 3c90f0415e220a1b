"""A layer kind that was added by one class and one line is served everywhere (support/half_layer.py)."""

import json
import subprocess
import sys

import pytest
from support.helpers import PROJECT

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def report(sphere_scene, tmp_path_factory):
    """What became of the kind in a process of its own, where it was there before any choice of flags was made."""
    output = tmp_path_factory.mktemp("half")
    code = (
        f"from support import half_layer, half_layer_run; half_layer_run.main({str(sphere_scene)!r}, {str(output)!r})"
    )
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=PROJECT / "tests", capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    return json.loads((output / "report.json").read_text())


def test_ns_train_trains_it_at_the_default_rate_and_its_run_opens(report):
    assert report["layers"] == ["Linear", *["HalfLinear"] * 3, "Linear"]
    assert report["rate"] == 1.6e-2


def test_it_folds_to_equal_outputs(report):
    assert report["folded_trunk"] == "FoldedMLP" and report["fold_difference"] < 1e-12


def test_eugen_export_opens_its_run(report):
    status, output, written = report["export"]
    assert status == 0 and written, output


def test_eugen_transfer_fits_it_to_a_dense_run(report):
    status, output = report["transfer"]
    assert status == 0 and "layers.2" in output, output
    assert report["student"] == report["layers"]


def test_benchmarks_offer_it(report):
    assert report["contestant"] == report["bench_transfer"] == "half" and report["isdf"] == ["dense", "half"]
