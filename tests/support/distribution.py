"""How pytest-xdist deals the tests out to its processes: by file, the slow files first."""

from __future__ import annotations

from pathlib import Path

import pytest
from xdist.scheduler import LoadScopeScheduling

TESTS = Path(__file__).resolve().parents[1]

SLOW_FIRST = (
    "commands",
    "training",
    "kernels",
    "scripts",
    "transfer",
    "benchmark",
    "scenes",
    "viewer",
    "models",
    "live",
)
"""Folders whose files go first, so that no process begins a slow file when the others have nothing left to do."""

TOGETHER = {
    "tests/commands/test_mipnerf_runs.py": "runs of mipnerf methods",
    "tests/models/test_mipnerf_model.py": "runs of mipnerf methods",
    "tests/commands/test_planes_runs.py": "runs of plane methods",
    "tests/models/test_planes_model.py": "runs of plane methods",
}
"""Files that share what takes long to make, and go to one process."""


class ByFile(LoadScopeScheduling):
    """Files of tests in the order of the collection, each to the process that is free."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::", 1)[0]
        return TOGETHER.get(file, file)


def scheduler(config: pytest.Config, log) -> ByFile | None:
    """The scheduler of --dist loadfile; the others are xdist's own."""
    if config.getvalue("dist") != "loadfile":
        return None
    config.option.loadscopereorder = False
    return ByFile(config, log)


def room(item: pytest.Item) -> str:
    """The folder of tests/ that holds a test; empty for files beside conftest.py."""
    parts = item.path.relative_to(TESTS).parts
    return parts[0] if len(parts) > 1 else ""


def slow_first(items: list[pytest.Item]) -> None:
    """Sorts tests so that those of SLOW_FIRST come first; the order is kept otherwise."""
    ranks = {name: rank for rank, name in enumerate(SLOW_FIRST)}
    items.sort(key=lambda item: ranks.get(room(item), len(ranks)))
