"""The JSON file that every eugen-bench subcommand reads, resumes and writes."""

from __future__ import annotations

import json
import os
import platform
import shlex
import sys
from pathlib import Path
from typing import Any

from eugen_fields.errors import InputError


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


def run_name(folder: Path) -> str:
    """How tables call the run in a folder: scene, method and time."""
    return "/".join(folder.resolve().parts[-3:])


def load_results(path: Path) -> dict[str, Any]:
    """The document {"environment", "runs"} in a JSON file, or a new one. Raises InputError for other files."""
    if not path.exists():
        return {"environment": environment(), "runs": []}
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(document, dict) or not isinstance(document.get("runs"), list):
            raise ValueError('no list "runs"')
    except (OSError, ValueError) as error:
        raise InputError(f"--json {path} is not a results file of eugen-bench ({error}). Name another file.") from None
    return document


def save_results(document: dict[str, Any], path: Path) -> None:
    """Writes the document beside the file first, so that a crash leaves the old one. Raises InputError on failure."""
    beside = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        os.replace(beside, path)
    except OSError as error:
        raise InputError(f"cannot write --json {path}: {error.strerror or error}.") from None


def find_run(document: dict[str, Any], key: dict[str, Any]) -> dict[str, Any] | None:
    """The run whose entries equal all of `key`, or None where it is still to be done."""
    return next((run for run in document["runs"] if all(run.get(name) == value for name, value in key.items())), None)
