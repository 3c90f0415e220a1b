"""The kernel in kernels/README.md is the one that is generated, and every command line there runs."""

import ast
import contextlib
import io
import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest

import eugen_fields.kernels
from eugen_fields.kernels import show

README = (Path(eugen_fields.kernels.__file__).parent / "README.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^    python -m eugen_fields\.kernels\.show (.*)$", README, re.MULTILINE)


def run(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["show", *arguments])
    show.main()
    return capsys.readouterr().out


def code_of(source):
    """What the formatter leaves alone of a source."""
    return ast.unparse(ast.parse(source))


def comments_of(source):
    return re.findall(r"# .*", source)


def test_the_kernel_shown_is_the_one_that_is_generated(tmp_path):
    module, kernel = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    (tmp_path / "module.py").write_text(module)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        runpy.run_path(str(tmp_path / "module.py"))
    again = "generate it again and put it into eugen_fields/kernels/README.md"
    assert code_of(printed.getvalue()) == code_of(kernel), again
    assert comments_of(printed.getvalue()) == comments_of(kernel), again


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_of_the_readme_run(command, monkeypatch, capsys):
    printed = run(monkeypatch, capsys, *shlex.split(command))
    assert "BLOCK: tl.constexpr" in printed and "        # " in printed


def test_every_layer_is_named_where_its_code_begins(monkeypatch, capsys):
    printed = run(monkeypatch, capsys, "eugen-nerf-tiny", "--layer", "dense")
    comments = re.findall(r"^        # (.*)$", printed, re.MULTILINE)
    for part in ("encoding of the position", "trunk, stage 0", "density", "encoding of the direction", "colour: "):
        assert any(comment.startswith(part) for comment in comments), part


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["eugen-nothing"], "no method 'eugen-nothing'; choose one of eugen-isdf"),
        (["eugen-nerf-tiny", "--layer", "thin"], "layer is 'thin'; it must be one of"),
        (["eugen-mipnerf-tiny"], "a MipNeRFField has no frequency encodings.*--training"),
        (["eugen-nerf-tiny", "--layer", "snnk", "--training"], "SNNKLinear cannot be fused"),
    ],
)
def test_what_cannot_be_shown_is_said_in_one_line(arguments, message, monkeypatch, capsys):
    with pytest.raises(SystemExit) as stopped:
        run(monkeypatch, capsys, *arguments)
    line = str(stopped.value.code)
    assert line.startswith("error: ") and "\n" not in line and re.search(message, line), line
