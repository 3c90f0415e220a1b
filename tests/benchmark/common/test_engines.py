"""Sweeps: one process, or a Ray cluster of two nodes, whose workers may be lost."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from support.helpers import write_sphere_scene

from eugen_fields.benchmark.common import Results
from eugen_fields.benchmark.common.engines import Case, run_cases
from eugen_fields.benchmark.quality.scenes import Scenes
from eugen_fields.errors import InputError

SMALL = ("num_layers=2", "layer_width=16", "num_features=4", "grid_resolution=16", "samples_per_diagonal=64")


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of two nodes with one processor each, on the loopback."""
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # on all systems: keep to 127.0.0.1
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    options: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 80 << 20}
    nodes = Cluster()
    for node in (options | {"include_dashboard": False}, options):
        for attempt in range(3):  # Ray gives a node half a minute to start, which a busy machine may not keep to
            try:
                nodes.add_node(**node)
                break
            except Exception as error:
                if attempt == 2:
                    pytest.skip(f"Ray does not start here: {error}")
    yield str(nodes.address)
    nodes.shutdown()


def _numbered(number: int, folder: Path) -> dict[str, Any]:
    """A measurement that waits to be killed the first time that it is number 1."""
    mark = folder / f"{number}.pid"
    first = not mark.exists()
    mark.write_text(str(os.getpid()))
    if number == 1 and first:
        time.sleep(120)
    return {"square": number**2, "first": first}


def _failing(message: str) -> dict[str, Any]:
    raise InputError(message)


def numbered(folder: Path, count: int) -> list[Case]:
    # functions of this file go by value: a worker cannot import it
    return [Case({"number": n}, f"number {n}", partial(by_value(_numbered), n, folder)) for n in range(count)]


def by_value(function: Any) -> Any:
    """A function that is pickled with its code."""
    import ray.cloudpickle as pickle

    pickle.register_pickle_by_value(__import__(function.__module__, fromlist=["_"]))
    return function


@pytest.mark.e2e
def test_a_lost_worker_is_replaced_and_the_order_is_kept(cluster: str, tmp_path: Path) -> None:
    killed = []

    def kill() -> None:
        mark = tmp_path / "1.pid"
        while not (mark.exists() and mark.read_text()):
            time.sleep(0.05)
        killed.append(int(mark.read_text()))
        os.kill(killed[0], signal.SIGKILL)

    threading.Thread(target=kill, daemon=True).start()
    results = Results(tmp_path / "results.json")
    found = run_cases(numbered(tmp_path, 4), results, engine="ray", address=cluster)
    assert killed and killed[0] != os.getpid()
    assert [entry["square"] for entry in found] == [0, 1, 4, 9]
    assert [entry["number"] for entry in json.loads(results.path.read_text())["runs"]] == [0, 1, 2, 3]
    assert not found[1]["first"] and found[2]["first"], "the killed run was started again, the others were not"


@pytest.mark.e2e
def test_bad_input_in_a_worker_ends_the_sweep_and_keeps_what_is_done(cluster: str, tmp_path: Path) -> None:
    results = Results(tmp_path / "results.json")
    run_cases(numbered(tmp_path, 1), results, engine="ray", address=cluster)
    cases = [*numbered(tmp_path, 1), Case({"number": -1}, "bad", partial(by_value(_failing), "the file x is damaged."))]
    with pytest.raises(InputError, match="^the file x is damaged"):
        run_cases(cases, results, engine="ray", address=cluster)
    assert [entry["number"] for entry in json.loads(results.path.read_text())["runs"]] == [0]


@pytest.mark.e2e
def test_trained_fields_are_those_of_one_process(cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    write_sphere_scene(tmp_path / "ball", train=4)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        found = {}
        for engine in ("local", "ray"):
            place = tmp_path / engine
            settings: dict[str, Any] = {"layers": ("dense",), "options": SMALL, "steps": 6, "size": 12, "seed": (0, 1)}
            settings |= {"output": place / "runs", "json": place / "scenes.json", "plot": False, "device": "cpu"}
            Scenes(scene=(tmp_path / "ball",), engine=engine, ray_address=cluster, **settings).main()  # type: ignore[arg-type]
            found[engine] = json.loads((place / "scenes.json").read_text())["runs"]
    finally:
        torch.set_num_threads(threads)
    for local, remote in zip(found["local"], found["ray"], strict=True):
        assert local["seed"] == remote["seed"] and local["psnr"] == remote["psnr"] and local["ssim"] == remote["ssim"]
        assert (Path(remote["run"]) / "config.yml").is_file()


def test_one_process_goes_on_where_it_was_broken_off(tmp_path: Path, capsys) -> None:
    calls = []

    def measure(number: int) -> dict[str, Any]:
        if number == 2 and 2 not in calls:
            calls.append(2)
            raise KeyboardInterrupt
        calls.append(number)
        return {"square": number**2}

    cases = [Case({"number": n}, f"number {n}", partial(measure, n)) for n in range(4)]
    with pytest.raises(KeyboardInterrupt):
        run_cases(cases, Results(tmp_path / "results.json"))
    found = run_cases(cases, Results(tmp_path / "results.json"))
    assert [entry["square"] for entry in found] == [0, 1, 4, 9] and calls == [0, 1, 2, 2, 3]
    assert capsys.readouterr().out.splitlines().count("number 1 (2 of 4)") == 1


def test_a_cluster_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray")

    def refuse(**options: Any) -> None:
        raise ConnectionError(f"no GCS at {options['address']}\nand more")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", refuse)
    case = Case({"number": 0}, "number 0", dict)
    with pytest.raises(InputError, match=r"RAY_ADDRESS 127\.0\.0\.1:9: .*\(no GCS at 127\.0\.0\.1:9\)"):
        run_cases([case], Results(tmp_path / "results.json"), engine="ray", address="127.0.0.1:9")


def test_without_ray_the_message_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match="pip install ray"):
        run_cases([Case({"number": 0}, "number 0", dict)], Results(tmp_path / "results.json"), engine="ray")
