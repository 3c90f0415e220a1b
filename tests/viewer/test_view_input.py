"""Bad input of eugen-view ends with a message that says what was found and what would do."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest
import torch
from support.helpers import PROJECT
from support.view_helpers import write_run

from eugen_fields.errors import InputError
from eugen_viewer.address import choose_port
from eugen_viewer.app import Viewer
from eugen_viewer.opened import OpenedRun


def test_a_missing_run_is_named(tmp_path):
    with pytest.raises(InputError, match="there is no run .*nowhere"):
        Viewer([tmp_path / "nowhere"])


@pytest.mark.parametrize("count", [0, 3])
def test_one_run_or_two(tmp_path, count):
    with pytest.raises(InputError, match=f"{count} runs"):
        Viewer([tmp_path] * count)


def test_a_foreign_config_is_refused_and_nothing_in_it_is_called(tmp_path):
    folder = write_run(tmp_path / "run")
    marker = tmp_path / "called"
    config = folder / "config.yml"
    config.write_text(f'!!python/object/apply:os.system ["touch {marker}"]')
    with pytest.raises(InputError, match="config.yml"):
        Viewer([folder])
    text = (
        "!!python/object:some.Config\npipeline: !!python/object:some.Pipeline\n  model: !!python/object:some.Model {}"
    )
    config.write_text(text)
    with pytest.raises(InputError, match="some.Model"):
        Viewer([folder])
    assert not marker.exists()


def test_a_half_written_checkpoint_is_passed_over_or_named(tmp_path):
    folder = write_run(tmp_path / "run", steps=(100, 200))
    newest = folder / "nerfstudio_models" / "step-000000200.ckpt"
    newest.write_bytes(newest.read_bytes()[:2000])
    assert OpenedRun(folder, "cpu").shown.run.step == 100
    with pytest.raises(InputError, match="step-000000200.*truncated"):
        OpenedRun(folder, "cpu", step=200)


def test_a_checkpoint_without_weights_of_the_renderer_is_named(tmp_path):
    folder = write_run(tmp_path / "run", "mipnerf")
    path = folder / "nerfstudio_models" / "step-000000100.ckpt"
    state = torch.load(path, weights_only=True)
    state["pipeline"] = {name: value for name, value in state["pipeline"].items() if "proposal" not in name}
    torch.save(state, path)
    with pytest.raises(InputError, match="no proposal network"):
        OpenedRun(folder, "cpu")


def test_a_port_in_use_is_named(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"port {port} of 127.0.0.1 is in use.*--port"):
            Viewer([tmp_path], port=port)


def test_addresses():
    assert choose_port("127.0.0.1", 0) > 0
    with pytest.raises(InputError, match="65535"):
        choose_port("127.0.0.1", 1 << 16)
    with pytest.raises(InputError, match="--host 192.0.2.1"):
        choose_port("192.0.2.1", 0)


def test_the_command_explains_itself_and_needs_little_for_it():
    code = (
        "import sys; sys.argv = ['eugen-view', '--help']\n"
        "import eugen_viewer.cli, contextlib\n"
        "with contextlib.suppress(SystemExit): eugen_viewer.cli.main()\n"
        "assert not {'torch', 'viser', 'nerfstudio'} & set(sys.modules)"
    )
    environment = {"PYTHONPATH": f"{PROJECT}:{PROJECT / 'viewer'}", "COLUMNS": "200", "PATH": "/usr/bin:/bin"}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=120)
    assert result.returncode == 0, result.stderr
    for flag in ("--port", "--host", "--allow-host", "--device", "--step", "RUN"):
        assert flag in result.stdout
