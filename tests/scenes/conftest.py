"""The scripts of scenes/ as modules, as commands, and a furniture catalogue small enough to read here."""

import importlib
import io
import os
import runpy
import subprocess
import sys
import zipfile
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

SCENES = Path(__file__).parents[2] / "scenes"

PROPERTIES = """\
# a catalogue
name=Handmade
license=Public domain
id#1=Handmade#threeBoxes
name#1=Three bo\\u0078es
creator#1=Nobody
model#1=/handmade/boxes/boxes.obj
id#2=Handmade#four_boxes
name#2=Four boxes
model#2=/handmade/boxes/boxes.obj
modelRotation#2=0 0 1 0 1 0 -1 0 0
"""
MATERIALS = """\
newmtl red
Kd 0.8 0.0 0.0
newmtl green thing
Kd 0.0 0.8 0.0
newmtl blue
Kd 0.0 0.0 0.8
"""


def box(x: float, y: float, z: float, half: float = 0.15) -> str:
    """OBJ text of an axis-aligned box about (x, y, z): relative indices, outward faces."""
    corners = [(x + i * half, y + j * half, z + k * half) for i in (-1, 1) for j in (-1, 1) for k in (-1, 1)]
    faces = ["-8 -7 -5 -6", "-4 -2 -1 -3", "-8 -4 -3 -7", "-6 -5 -1 -2", "-8 -6 -2 -4", "-7 -3 -1 -5"]
    return "".join(f"v {a} {b} {c}\n" for a, b, c in corners) + "".join(f"f {face}\n" for face in faces)


BOXES = (
    "mtllib boxes.mtl\n"
    + ("usemtl red\n" + box(1, 0, 0))
    + ("usemtl green thing\n" + box(0, 1, 0))  # y is up in the file
    + ("usemtl blue\n" + box(0, 0, 1))
)


@pytest.fixture(scope="session")
def load():
    """load(name): the script scenes/name.py as a module, its neighbours importable as when it is run."""

    def load_script(name: str):
        sys.path.insert(0, str(SCENES))
        try:
            module = importlib.import_module(name)
        finally:
            sys.path.remove(str(SCENES))
        assert SCENES in Path(str(module.__file__)).parents, f"another module is called {name}: {module.__file__}"
        return module

    return load_script


@pytest.fixture
def command(tmp_path, monkeypatch):
    """command(script, *arguments): run it as a user would and return the finished process.

    It is run in this process, which has imported what scripts import; with variables of its own it gets one for itself.
    """

    def run(script: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess:
        words = [str(SCENES / script), *map(str, arguments)]
        if environment:
            variables = {**os.environ, **environment}
            words = [sys.executable, *words]
            return subprocess.run(words, capture_output=True, text=True, cwd=tmp_path, env=variables)
        out, err = io.StringIO(), io.StringIO()
        status = 0
        with monkeypatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            patch.chdir(tmp_path)
            patch.setattr(sys, "argv", words)
            patch.syspath_prepend(str(SCENES))
            try:
                runpy.run_path(words[0], run_name="__main__")
            except SystemExit as ended:
                status = ended.code
        return subprocess.CompletedProcess(words, status, out.getvalue(), err.getvalue())

    return run


@pytest.fixture
def fails(command):
    """fails(script, *arguments): the error message of a command that must fail, and do so without a traceback."""

    def run(script: str, *arguments: object, **environment: str) -> str:
        process = command(script, *arguments, **environment)
        assert process.returncode not in (0, None)
        assert "Traceback" not in process.stderr
        message = process.stderr.splitlines()[-1]  # after the progress bar, if there was one
        assert message.startswith("error: ")
        return message

    return run


@pytest.fixture
def catalogues(tmp_path) -> Path:
    """A folder with one catalogue of red, green and blue boxes on the x, y (up) and z axes of its OBJ file."""
    folder = tmp_path / "catalogues"
    folder.mkdir()
    with zipfile.ZipFile(folder / "Handmade.sh3f", "w") as archive:
        archive.writestr("PluginFurnitureCatalog.properties", PROPERTIES)
        archive.writestr("handmade/boxes/boxes.obj", BOXES)
        archive.writestr("handmade/boxes/boxes.mtl", MATERIALS)
    return folder
