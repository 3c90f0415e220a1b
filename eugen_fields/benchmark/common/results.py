"""The JSON file that every eugen-bench subcommand reads, resumes and writes."""

from __future__ import annotations

import json
import platform
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from eugen_fields.errors import InputError
from eugen_fields.writing import written_beside


def environment() -> dict[str, Any]:
    """What a reader needs to judge the figures: versions, processor, threads, command."""
    import torch

    processor = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        processor = names[0] if names else processor
    return {
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "processor": processor,
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
    }


def source_commit() -> str | None:
    """The commit of the checkout that this code is part of, with -dirty where tracked files differ from it; None where
    it is installed otherwise."""
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        tracked = subprocess.run([*git, "ls-files", "--error-unmatch", __file__], capture_output=True)
        if tracked.returncode:
            return None
        described = ["describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
        return subprocess.run([*git, *described], capture_output=True, text=True).stdout.strip() or None
    except OSError:  # there is no git
        return None


def run_name(folder: Path) -> str:
    """How tables call the run in a folder: scene, method and time."""
    return "/".join(folder.resolve().parts[-3:])


class Results:
    """A JSON file {"environment", "runs", ...} that grows by one measurement after the other.

    Args:
        path: of the file; where there is none, the document is new, and the first `save` writes it.

    Raises:
        InputError: the file is not one of results.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.document: dict[str, Any] = {"environment": environment(), "runs": []}
        if path.exists():
            self.document = _read(path)

    @property
    def runs(self) -> list[dict[str, Any]]:
        """All measurements in the file, oldest first."""
        return self.document["runs"]

    def find(self, key: dict[str, Any]) -> dict[str, Any] | None:
        """The measurement whose entries equal all of `key`, or None where it is still to be made."""
        return next((run for run in self.runs if all(run.get(name) == value for name, value in key.items())), None)

    def once(self, key: dict[str, Any], measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The measurement with this key: from the file, or made now and saved there."""
        found = self.find(key)
        if found is None:
            found = key | measure()
            self.runs.append(found)
            self.save()
        return found

    def sort(self, keys: list[dict[str, Any]]) -> None:
        """Puts the measurements with these keys in the order of the keys, behind all others, and saves."""
        asked = [found for key in keys if (found := self.find(key)) is not None]
        ours = {id(run) for run in asked}
        self.document["runs"] = [run for run in self.runs if id(run) not in ours] + asked
        self.save()

    def save(self) -> None:
        """Writes the document beside the file first, so that a crash leaves the old one. Raises InputError on
        failure."""
        with written_beside(self.path, advice="Choose another place with --json.") as unfinished:
            unfinished.write_text(json.dumps(self.document, indent=1) + "\n", encoding="utf-8")


def _read(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(document, dict) or not isinstance(document.get("runs"), list):
            raise ValueError('no list "runs"')
    except (OSError, ValueError) as error:
        raise InputError(f"--json {path} is not a results file of eugen-bench ({error}). Name another file.") from None
    return document
