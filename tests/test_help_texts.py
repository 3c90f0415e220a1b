"""Help texts stand alone: --help shows a field's docstring without its neighbours."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = sorted({path.parent.relative_to(ROOT) for path in (ROOT / "eugen_fields").rglob("*.py")}) + [
    Path("viewer/eugen_viewer"),
    Path("scripts"),
]
REFUSED = ("Of", "The same", "Their", "That", "This")
"""First words that lean on what stands before."""


def decorator_names(node: ast.ClassDef) -> set[str]:
    return {
        getattr(inner, "id", getattr(inner, "attr", ""))
        for decorator in node.decorator_list
        for inner in [decorator.func if isinstance(decorator, ast.Call) else decorator]
    }


def is_shown(node: ast.ClassDef) -> bool:
    """Whether tyro makes flags of a class: a configuration, the options of a command, or a command itself."""
    if "dataclass" not in decorator_names(node):
        return False
    has_main = any(isinstance(item, ast.FunctionDef) and item.name == "main" for item in node.body)
    is_command = any(name.endswith(("Options", "Benchmark")) for name in base_names(node))
    return has_main or is_command or node.name.endswith(("Config", "Options", "Flags", "Benchmark"))


def base_names(node: ast.ClassDef) -> list[str]:
    return [getattr(base, "id", "") for base in node.bases]


def classes_in(paths: Iterable[Path]) -> dict[str, tuple[Path, ast.ClassDef]]:
    """The classes that tyro makes flags of, by name, with their files."""
    trees = ((path, ast.parse(path.read_text(encoding="utf-8"))) for path in paths)
    nodes = ((path, node) for path, tree in trees for node in ast.walk(tree))
    return {node.name: (path, node) for path, node in nodes if isinstance(node, ast.ClassDef) and is_shown(node)}


def field_texts(node: ast.ClassDef) -> dict[str, str | None]:
    """The docstrings of the fields that a class names itself; None where a field has none."""
    texts: dict[str, str | None] = {}
    for item, following in zip(node.body, [*node.body[1:], None]):
        if not isinstance(item, ast.AnnAssign) or not isinstance(item.target, ast.Name):
            continue
        text = None
        if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
            text = str(following.value.value)
        if not item.target.id.startswith("_") and "ClassVar" not in ast.unparse(item.annotation):
            texts[item.target.id] = text
    return texts


def inherited_text(node: ast.ClassDef, field: str, known: Mapping[str, ast.ClassDef]) -> str | None:
    """The docstring of a field in the nearest base class that has one, as tyro takes it."""
    for base in (known[name] for name in base_names(node) if name in known):
        text = field_texts(base).get(field) or inherited_text(base, field, known)
        if text:
            return text
    return None


def help_texts(node: ast.ClassDef, known: Mapping[str, ast.ClassDef]) -> dict[str, str | None]:
    """The docstrings of a class and of its fields, by name; None where there is none."""
    fields = {
        f"{node.name}.{field}": text or inherited_text(node, field, known) for field, text in field_texts(node).items()
    }
    return {node.name: ast.get_docstring(node)} | fields


def leans(text: str | None) -> str | None:
    """What is wrong with a help text, if anything."""
    if not text:
        return "is missing"
    words = " ".join(text.split())
    for start in REFUSED:
        if words.startswith(f"{start} "):
            return f"begins with {start!r}: {words!r}"
    return None if words.endswith((".", ".)")) else f"does not end with a full stop: {words!r}"


ALL = classes_in(path for room in ROOMS for path in sorted((ROOT / room).glob("*.py")))
NODES = {name: node for name, (_, node) in ALL.items()}


@pytest.mark.parametrize("room", sorted({path.parent.relative_to(ROOT) for path, _ in ALL.values()}), ids=str)
def test_every_help_text_stands_alone(room: Path) -> None:
    faults = [
        f"{path.name}: {name} {fault}"
        for path, node in ALL.values()
        if path.parent == ROOT / room
        for name, text in help_texts(node, NODES).items()
        if (fault := leans(text))
    ]
    assert not faults, "\n".join(faults)


def test_the_texts_of_all_commands_and_methods_are_looked_at() -> None:
    assert {"FieldTrainerConfig", "StreamDataManagerConfig", "DepthStreamDataParserConfig", "MeshOptions"} <= set(ALL)
    assert {
        "PhotoOptions",
        "TransferOptions",
        "ExportOptions",
        "ViewOptions",
        "Demo",
        "ISDFSpeed",
        "LayerFlags",
    } <= set(ALL)


@pytest.mark.parametrize("start", REFUSED)
def test_a_text_that_leans_on_its_neighbour_is_found(start: str) -> None:
    source = f'@dataclass\nclass Config:\n    """Settings."""\n    width: int = 1\n    """{start} layers."""\n'
    source += "@dataclass\nclass WideConfig(Config):\n    width: int = 2\n"
    known = {node.name: node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)}
    texts = help_texts(known["Config"], known) | help_texts(known["WideConfig"], known)
    assert leans(texts["Config"]) is None and leans(texts["WideConfig"]) == "is missing"
    assert texts["WideConfig.width"] == texts["Config.width"]
    assert start in str(leans(texts["Config.width"]))
    assert "full stop" in str(leans("Width of the layers"))
