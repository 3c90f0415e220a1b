"""What an import costs and which way the arrows between packages point."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "eugen_fields"
HEAVY = ("nerfstudio", "open3d", "viser", "matplotlib", "trimesh", "mitsuba")


def imports(path):
    """Full names of every module that a source file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: line {node.lineno}: a relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def sources(room):
    files = sorted((PACKAGE / room).rglob("*.py"))
    assert files, room
    return files


def reaches(name, targets):
    return any(name == target or name.startswith(f"{target}.") for target in targets)


def test_layers_need_torch_alone():
    code = f"import sys, eugen_fields.layers; print([name for name in {HEAVY!r} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize("room", ["layers", "encodings"])
def test_lowest_rooms_import_torch_the_standard_library_and_themselves(room):
    for path in sources(room):
        for name in imports(path):
            outside = name.split(".")[0] not in sys.stdlib_module_names
            assert not outside or reaches(name, ("torch", f"eugen_fields.{room}")), f"{path.name} imports {name}"


@pytest.mark.parametrize(
    "room, later",
    [
        ("layers", ("kernels", "encodings", "fields", "sampling", "models", "methods", "training", "data", "runs")),
        ("kernels", ("fields", "sampling", "models", "methods", "training", "data", "runs")),
        ("encodings", ("layers", "kernels", "fields", "sampling", "models", "methods", "training", "data", "runs")),
        ("sampling", ("layers", "fields", "models", "methods", "training", "data", "runs")),
        ("fields", ("sampling", "models", "methods", "training", "data", "runs")),
        ("models", ("methods", "training", "runs")),
    ],
)
def test_arrows_point_one_way(room, later):
    targets = [f"eugen_fields.{name}" for name in later]
    for path in sources(room):
        for name in imports(path):
            assert not reaches(name, targets), f"{path.name} imports {name}"


@pytest.mark.parametrize("room", ["layers", "kernels", "encodings", "fields", "sampling", "models"])
def test_nothing_below_reaches_meshing_benchmark_or_viewer(room):
    targets = ("eugen_fields.meshing", "eugen_fields.benchmark", "eugen_viewer", "viewer")
    for path in sources(room):
        for name in imports(path):
            assert not reaches(name, targets), f"{path.name} imports {name}"


def test_heavy_packages_are_imported_where_they_are_used():
    # at the top of a module they would slow down, or break, everything that imports it
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                assert not reaches(name, ("open3d", "viser", "matplotlib", "mitsuba")), f"{path.name} imports {name}"


def test_no_two_files_import_each_other():
    def module_of(path):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        return name.removesuffix(".__init__")

    files = {module_of(path): path for path in PACKAGE.rglob("*.py")}
    edges = {}
    for module, path in files.items():
        parents = {name if name in files else name.rpartition(".")[0] for name in imports(path)}
        edges[module] = {name for name in parents if name in files and name != module}
    mutual = [(a, b) for a, targets in edges.items() for b in targets if a in edges[b] and a < b]
    assert mutual == []
