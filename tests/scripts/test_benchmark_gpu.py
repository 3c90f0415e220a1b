"""scripts/benchmark.sh --gpu: stages that end, fail, hang and are ended, and what is left of each of them."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import tyro
from support.helpers import PROJECT

from eugen_fields.benchmark.kernels import Kernels
from eugen_fields.benchmark.layers.layers import Layers
from eugen_fields.benchmark.quality.comparison import Train
from eugen_fields.benchmark.quality.trial import Trial
from eugen_fields.benchmark.speed.isdf_speed import ISDFSpeed
from eugen_fields.benchmark.speed.render import Render

SCRIPT = PROJECT / "scripts" / "benchmark_gpu.py"
COMMANDS = {"kernels": Kernels, "layers": Layers, "train": Train, "render": Render, "isdf-speed": ISDFSpeed}


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmark_gpu", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look for it there
    spec.loader.exec_module(module)
    return module


def stage(script: ModuleType, name: str, code: str, seconds: float = 60.0) -> Any:
    return script.Stage(name, f"The {name}", seconds, lambda: [sys.executable, "-S", "-c", code])


def states(folder: Path) -> dict[str, str]:
    return {name: stage["state"] for name, stage in json.loads((folder / "stages.json").read_text())["stages"].items()}


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return state == "Z"  # ended, and nobody has asked how yet


def test_a_stage_that_fails_or_hangs_stops_no_other(script: ModuleType, tmp_path: Path) -> None:
    hangs = f"""
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"])
open({str(tmp_path / "child")!r}, "w").write(str(child.pid))
open({str(tmp_path / "half.json")!r}, "w").write("[1]")
print("| half |", flush=True)
time.sleep(600)
"""

    def cannot() -> list[str]:
        raise LookupError("there are no runs")

    stages = [
        stage(script, "first", "print('| first |')"),
        stage(script, "fails", "import sys; print('| a part |'); sys.exit('it | broke')"),
        stage(script, "hangs", hangs, seconds=3.0),
        script.Stage("lacks", "The lacking", 60.0, cannot),
        stage(script, "last", "print('| last |')"),
    ]
    status = script.run_stages(stages, tmp_path, 100.0, dict(os.environ), {"torch": "9.9"})
    assert status == 1
    found = states(tmp_path)
    assert found["first"] == found["last"] == "done"
    assert found["fails"] == "failed (status 1: it | broke)" and found["hangs"] == "ended after 3 s"
    assert found["lacks"] == "not run: there are no runs"
    report = (tmp_path / "report.md").read_text()
    places = [report.index(text) for text in ("torch: 9.9", "| The lacking |", "| first |", "| half |", "| last |")]
    assert places == sorted(places) and "it   broke" in report, "a bar would end the cell"
    assert (tmp_path / "half.json").read_text() == "[1]"
    assert gone(int((tmp_path / "child").read_text())), "what a stage started ends with it"


def test_one_limit_for_all(script: ModuleType, tmp_path: Path) -> None:
    stages = [stage(script, "long", "import time; time.sleep(600)"), stage(script, "late", "print('| late |')")]
    assert script.run_stages(stages, tmp_path, 1.0, dict(os.environ), {}) == 1
    assert states(tmp_path) == {
        "long": "not run: no time was left of the 1 s",
        "late": "not run: no time was left of the 1 s",
    }
    assert script.run_stages(stages, tmp_path, 6.0, dict(os.environ), {}) == 1
    found = states(tmp_path)
    assert found["long"] == "ended after 6 s" and found["late"].startswith("not run: no time")


def test_all_done_is_status_0_and_an_old_table_does_not_stay(script: ModuleType, tmp_path: Path) -> None:
    def cannot() -> list[str]:
        raise LookupError("nothing is there")

    assert script.run_stages([stage(script, "one", "print('| old |')")], tmp_path, 60.0, dict(os.environ), {}) == 0
    script.run_stages([script.Stage("one", "One", 60.0, cannot)], tmp_path, 60.0, dict(os.environ), {})
    assert "| old |" not in (tmp_path / "report.md").read_text()


def test_what_is_ended_from_outside_leaves_a_report(tmp_path: Path) -> None:
    driver = f"""
import importlib.util, os, signal, sys
from pathlib import Path
spec = importlib.util.spec_from_file_location("benchmark_gpu", {str(SCRIPT)!r})
script = importlib.util.module_from_spec(spec)
sys.modules["benchmark_gpu"] = script
spec.loader.exec_module(script)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
new, pid = {str(tmp_path / "new")!r}, {str(tmp_path / "pid")!r}
code = f"import os; open({{new!r}}, 'w').write(str(os.getpid())); os.rename({{new!r}}, {{pid!r}})"
code += "; import time; time.sleep(600)"
start = [sys.executable, "-S", "-c"]
stages = [
    script.Stage("one", "One", 60.0, lambda: [*start, "print('| one |')"]),
    script.Stage("two", "Two", 600.0, lambda: [*start, code]),
]
script.run_stages(stages, Path({str(tmp_path)!r}), 900.0, dict(os.environ), {{}})
"""
    process = subprocess.Popen([sys.executable, "-c", driver], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 60
    while not (tmp_path / "pid").exists() and time.monotonic() < until:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 143
    assert states(tmp_path) == {"one": "done", "two": "ended from outside"}
    assert "| one |" in (tmp_path / "report.md").read_text()
    assert gone(int((tmp_path / "pid").read_text()))


def test_kernels_of_another_place_are_found_and_those_of_another_version_ignored(
    script: ModuleType, tmp_path: Path
) -> None:
    for version in ("triton-1.0", "triton-2.0"):
        kernel = tmp_path / version / "AB"
        kernel.mkdir(parents=True)
        files = {"k.cubin": "/elsewhere/AB/k.cubin", "k.json": "/elsewhere/AB/k.json"}
        (kernel / "__grp__k.json").write_text(json.dumps({"child_paths": files}))
    (tmp_path / "triton-2.0" / "AB" / "__grp__torn.json").write_text("{")
    cache = script.kernel_cache(tmp_path, "2.0")
    assert cache == tmp_path / "triton-2.0"
    here = json.loads((cache / "AB" / "__grp__k.json").read_text())["child_paths"]
    assert here == {name: str(cache / "AB" / name) for name in ("k.cubin", "k.json")}
    other = json.loads((tmp_path / "triton-1.0" / "AB" / "__grp__k.json").read_text())["child_paths"]
    assert other == files
    assert script.kernel_cache(tmp_path, "3.0").is_dir(), "a new one is empty"


@pytest.mark.parametrize("device", ["cuda", "cpu"])
def test_every_stage_has_flags_that_there_are(script: ModuleType, tmp_path: Path, device: str) -> None:
    (tmp_path / "train.json").write_text(json.dumps({"runs": [{"run": "runs/dense"}]}))
    stages = {"cuda": script.gpu_stages, "cpu": script.cpu_stages}[device](tmp_path)
    assert [stage.name for stage in stages] == [
        *("kernels", "layers", "training_layers", "train", "render", "isdf", "captures")
    ]
    files = set()
    for one in stages:
        *start, command = one.words()[:6]
        assert start == [sys.executable, "-W", "ignore", "-m", "eugen_fields.benchmark"]
        bench = tyro.cli(COMMANDS[command], args=list(one.words()[6:]))
        for name, value in type(bench).defaults.items():
            if getattr(bench, name) is None:
                setattr(bench, name, value)
        bench.check()
        assert bench.device == device and bench.json.parent == tmp_path and one.seconds > 30
        files.add(bench.json)
        if isinstance(bench, Train):
            assert bench.goal == 30 and bench.scene.is_dir()
            for layer in bench.layers:  # options of a network that are none are refused here
                Trial(layer=layer, method=bench.method, scene=bench.scene, output=tmp_path, options=bench.options,
                      steps=None, num_scales=1, rate_factor=1.0, curve_views=1, checkpoints=1, views=1,
                      device_type=None)  # fmt: skip
    assert len(files) == len(stages), "no stage waits for the file of another"


def test_frames_need_trained_runs(script: ModuleType, tmp_path: Path) -> None:
    (frames,) = [stage for stage in script.gpu_stages(tmp_path) if stage.name == "render"]
    for text in (None, "{", '{"runs": []}'):
        if text is not None:
            (tmp_path / "train.json").write_text(text)
        with pytest.raises(LookupError, match="train.json has no trained runs"):
            frames.words()


def run(*words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = ["bash", str(PROJECT / "scripts" / "benchmark.sh"), "--gpu", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | environment, timeout=600)


def test_a_python_that_is_none_is_named() -> None:
    result = run("--python", "no-such-python")
    assert result.returncode == 1 and result.stderr.count("\n") == 1 and "--python no-such-python" in result.stderr


def test_a_folder_that_cannot_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    result = run(tmp_path / "taken", "--python", sys.executable, "--device", "cpu")
    assert result.returncode == 1 and result.stderr.count("\n") == 1 and "name another folder" in result.stderr


@pytest.mark.e2e  # it trains, and starts a process for each stage
def test_stages_run_on_a_cpu_with_an_interpreter_as_it_is(tmp_path: Path) -> None:
    pytest.importorskip("triton")
    python = ("--python", sys.executable)
    result = run(tmp_path, *python, "--device", "cpu", "--limit", 500, "--stages", "kernels", "train", "render")
    assert result.returncode == 0, result.stdout + (tmp_path / "report.md").read_text()
    assert states(tmp_path) == dict.fromkeys(("kernels", "train", "render"), "done")
    report = (tmp_path / "report.md").read_text()
    assert "eugen, m = 64" in report and "eugen-nerf-tiny" in report and "16x16" in report and "- torch: " in report
    for name in ("kernels", "train", "render"):
        assert json.loads((tmp_path / f"{name}.json").read_text())["runs"]
    assert list((tmp_path / "kernels").glob("triton-*"))


@pytest.mark.e2e  # a process that imports torch
def test_without_a_gpu_one_line_says_so(tmp_path: Path) -> None:
    result = run(tmp_path, "--python", sys.executable, CUDA_VISIBLE_DEVICES="")
    assert result.returncode == 1 and result.stderr.count("\n") == 1 and "--device cpu" in result.stderr
