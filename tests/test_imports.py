"""What an import costs and which way the arrows between rooms point.

`MAY_IMPORT` lists every room of the package and the rooms that it builds on. A planted upward import in any room must
be found, so that the table cannot rot.
"""

import ast
import itertools
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "eugen_fields"
VIEWER = ROOT / "viewer" / "eugen_viewer"
HEAVY = ("nerfstudio", "open3d", "viser", "matplotlib", "trimesh", "mitsuba")
LAZY = ("open3d", "viser", "matplotlib", "mitsuba")
"""Packages that are imported where they are used: at the top of a file they would slow down everything above it."""

FIELDS = {"layers", "kernels", "encodings", "fields"}
MODELS = FIELDS | {"sampling", "models"}
RUNS = MODELS | {"data", "runs"}
TRAINING = RUNS | {"training"}
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "progress": set(),
    "writing": {"errors"},
    "serving": {"errors"},
    "layers": set(),
    "encodings": set(),
    "kernels": {"layers", "encodings"},
    "fields": FIELDS,
    "sampling": {"progress"},
    "models": MODELS | {"errors", "progress"},
    "data": {"errors", "writing", "progress", "sampling"},
    "runs": RUNS | {"errors", "writing", "progress"},
    "storing": RUNS | {"errors", "writing", "progress"},
    "meshing": RUNS | {"errors", "progress", "storing"},
    "training": TRAINING | {"errors", "writing", "progress"},
    "mapping": TRAINING | {"errors", "writing", "progress"},
    "live": TRAINING | {"errors", "progress", "serving", "mapping", "meshing"},
    "methods": TRAINING | {"errors", "mapping", "live"},
    "transfer": TRAINING | {"errors", "writing", "progress", "methods"},
    "benchmark": TRAINING | {"errors", "writing", "progress", "methods", "mapping", "meshing", "transfer", "storing"},
    "viewer": RUNS | {"errors", "progress", "serving", "methods", "meshing", "storing"},
}
"""The rooms that each room (or file beside the rooms) may import, itself aside."""


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


def reaches(name, targets):
    return any(name == target or name.startswith(f"{target}.") for target in targets)


def rooms(package=PACKAGE, viewer=VIEWER):
    """The source files of each room: of each folder of the package, and each file beside them; of the viewer."""
    found = {"viewer": sorted(viewer.rglob("*.py"))} if viewer.is_dir() else {}
    for path in sorted(package.iterdir()):
        if path.is_dir() and any(path.rglob("*.py")):
            found[path.name] = sorted(path.rglob("*.py"))
        elif path.suffix == ".py" and path.stem != "__init__":
            found[path.stem] = [path]
    return found


def room_of(name):
    """The room that a module's full name belongs to; None for modules that are not ours."""
    parts = name.split(".")
    if parts[0] in ("eugen_viewer", "viewer"):
        return "viewer"
    return parts[1] if parts[0] == "eugen_fields" and len(parts) > 1 else None


def arrows_against_the_plan(package=PACKAGE, viewer=VIEWER):
    """Imports that MAY_IMPORT does not allow, as (file, room)."""
    found = set()
    for room, files in rooms(package, viewer).items():
        allowed = MAY_IMPORT[room] | {room}
        for path in files:
            base = viewer.parent if room == "viewer" else package
            file = str(path.relative_to(base))
            for name in imports(path):
                target = room_of(name)
                # from eugen_fields import x: x is a room, or a name that the package itself offers
                if target in MAY_IMPORT and target not in allowed:
                    found.add((file, target))
    return sorted(found)


def test_every_room_is_listed():
    assert set(rooms()) == set(MAY_IMPORT)


def test_the_table_itself_has_no_circle():
    order = list(MAY_IMPORT)
    for room, allowed in MAY_IMPORT.items():
        for other in allowed - {room}:
            assert room not in MAY_IMPORT[other], f"{room} and {other} may import each other"
            assert other in order


def test_arrows_point_one_way():
    assert arrows_against_the_plan() == []


@pytest.mark.parametrize("room", MAY_IMPORT)
@pytest.mark.parametrize("where", ["top", "function"])
def test_a_planted_upward_import_is_found(room, where, tmp_path):
    above = next((name for name in MAY_IMPORT if room in MAY_IMPORT[name] and name != room), None)
    forbidden = above or next(name for name in MAY_IMPORT if name not in MAY_IMPORT[room] | {room})
    module = "eugen_viewer" if forbidden == "viewer" else f"eugen_fields.{forbidden}"
    line = f"from {module} import something\n"
    source = line if where == "top" else f"def function():\n    {line}"
    package, viewer = tmp_path / "eugen_fields", tmp_path / "viewer" / "eugen_viewer"
    package.mkdir()
    if room == "viewer":
        path = viewer / "planted.py"
    else:
        path = package / f"{room}.py" if (PACKAGE / f"{room}.py").exists() else package / room / "deep" / "planted.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source, encoding="utf-8")
    found = arrows_against_the_plan(package, viewer)
    assert [target for _, target in found] == [forbidden]


def test_layers_need_torch_alone():
    code = f"import sys, eugen_fields.layers; print([name for name in {HEAVY!r} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize("room", ["layers", "encodings", "kernels", "fields"])
def test_lowest_rooms_import_torch_the_standard_library_and_each_other(room):
    fast_paths = {"kernels": ("triton", "tinycudann", "tyro"), "encodings": ("scipy",)}
    known = ("torch", "eugen_fields", *fast_paths.get(room, ()))
    for path in rooms()[room]:
        for name in imports(path):
            outside = name.split(".")[0] not in sys.stdlib_module_names
            assert not outside or reaches(name, known), f"{path.name} imports {name}"


def test_heavy_packages_are_imported_where_they_are_used():
    for path in itertools.chain(PACKAGE.rglob("*.py"), VIEWER.rglob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            lazy = tuple(name for name in LAZY if name != "viser" or PACKAGE in path.parents)
            for name in names:
                assert not reaches(name, lazy), f"{path.name} imports {name}"


def test_no_files_import_each_other_in_a_circle():
    files = {}
    for base in (PACKAGE, VIEWER):
        for path in base.rglob("*.py"):
            name = ".".join(path.relative_to(base.parent).with_suffix("").parts)
            files[name.removesuffix(".__init__")] = path
    edges = {}
    for module, path in files.items():
        # "from package import name" names a file of that package, or something that its __init__ offers
        named = {name if name in files else name.rpartition(".")[0] for name in imports(path)}
        edges[module] = {name for name in named if name in files and name != module}
    open_modules, done = [], set()

    def visit(module):
        if module in open_modules:
            raise AssertionError(" -> ".join([*open_modules[open_modules.index(module) :], module]))
        if module not in done:
            open_modules.append(module)
            for target in sorted(edges[module]):
                visit(target)
            open_modules.pop()
            done.add(module)

    for module in files:
        visit(module)


@pytest.mark.parametrize("room", [room for room in MAY_IMPORT if (PACKAGE / room).is_dir()])
def test_every_room_says_what_it_offers(room):
    tree = ast.parse((PACKAGE / room / "__init__.py").read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), room
    offered = [node for node in tree.body if isinstance(node, ast.Assign) and node.targets[0].id == "__all__"]
    assert len(offered) == 1, f"{room}/__init__.py has no __all__"


@pytest.mark.parametrize("base", [PACKAGE, VIEWER, ROOT / "scenes"], ids=lambda base: base.name)
def test_a_folder_with_more_than_a_dozen_files_of_code_has_sub_rooms(base):
    for folder in {path.parent for path in base.rglob("*.py")}:
        files = [path for path in folder.glob("*.py") if path.stem not in ("__init__", "__main__")]
        most = 14 if any(path.is_dir() and path.name != "__pycache__" for path in folder.iterdir()) else 12
        assert len(files) <= most, f"{folder}: {len(files)} files; give it sub-rooms"
