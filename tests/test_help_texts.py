"""Help texts stand alone: --help shows a field's docstring without its neighbours."""

from __future__ import annotations

import ast
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
    is_command = any(getattr(base, "id", "").endswith(("Options", "Benchmark")) for base in node.bases)
    return has_main or is_command or node.name.endswith(("Config", "Options", "Flags", "Benchmark"))


def help_texts(source: str) -> dict[str, str | None]:
    """The docstrings of shown classes and of their fields by name; None where a field has none."""
    texts: dict[str, str | None] = {}
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.ClassDef) or not is_shown(node):
            continue
        texts[node.name] = ast.get_docstring(node)
        for item, following in zip(node.body, [*node.body[1:], None]):
            if not isinstance(item, ast.AnnAssign) or not isinstance(item.target, ast.Name):
                continue
            text = None
            if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
                text = str(following.value.value)
            if not item.target.id.startswith("_") and "ClassVar" not in ast.unparse(item.annotation):
                texts[f"{node.name}.{item.target.id}"] = text
    return texts


def leans(text: str | None) -> str | None:
    """What is wrong with a help text, if anything."""
    if not text:
        return "is missing"
    words = " ".join(text.split())
    for start in REFUSED:
        if words.startswith(f"{start} "):
            return f"begins with {start!r}: {words!r}"
    return None if words.endswith((".", ".)")) else f"does not end with a full stop: {words!r}"


@pytest.mark.parametrize("room", ROOMS, ids=str)
def test_every_help_text_stands_alone(room: Path) -> None:
    faults = [
        f"{path.name}: {name} {fault}"
        for path in sorted((ROOT / room).glob("*.py"))
        for name, text in help_texts(path.read_text(encoding="utf-8")).items()
        if (fault := leans(text))
    ]
    assert not faults, "\n".join(faults)


def test_the_texts_of_all_commands_and_methods_are_looked_at() -> None:
    shown = {
        name
        for room in ROOMS
        for path in (ROOT / room).glob("*.py")
        for name in help_texts(path.read_text(encoding="utf-8"))
    }
    assert {"FieldTrainerConfig", "StreamDataManagerConfig", "DepthStreamDataParserConfig", "MeshOptions"} <= shown
    assert {"TransferOptions", "ExportOptions", "ViewOptions", "Demo", "ISDFSpeed", "LayerFlags"} <= shown


@pytest.mark.parametrize("start", REFUSED)
def test_a_text_that_leans_on_its_neighbour_is_found(start: str) -> None:
    source = f'@dataclass\nclass Config:\n    """Settings."""\n    width: int = 1\n    """{start} layers."""\n'
    texts = help_texts(source)
    assert leans(texts["Config"]) is None
    assert start in str(leans(texts["Config.width"]))
    assert "full stop" in str(leans("Width of the layers")) and leans(None) == "is missing"
