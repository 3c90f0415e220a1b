"""`eugen-bench report`: every table and plot of measured results, in one Markdown file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eugen_fields.benchmark.report.sections import CHAPTERS, INTRODUCTION, LAST, Section
from eugen_fields.errors import InputError
from eugen_fields.writing import written_beside


@dataclass
class Report:
    """Writes the tables of the JSON files in a folder, with what was learnt from them, into one Markdown file.

    Nothing is measured. The same files give the same bytes."""

    results: Path = Path("scripts/results")
    """Folder of the JSON files and plots."""
    output: Path | None = None
    """Markdown file to write. Default: README.md in the folder of the results."""

    def main(self) -> None:
        """Writes the file."""
        path = self.output or self.results / "README.md"
        text = self.text()
        with written_beside(path, advice="Choose another place with --output.") as unfinished:
            unfinished.write_text(text, encoding="utf-8")
        print(f"written to {path}")

    def text(self) -> str:
        """The whole file. Raises InputError where a JSON file is missing, or lacks what its table needs."""
        parts = [INTRODUCTION]
        for title, sections in CHAPTERS.items():
            parts.append(f"## {title}")
            there = [section for section in sections if not section.optional or (self.results / section.file).exists()]
            parts += [self._section(section) for section in there]
        return "\n\n".join([*parts, LAST]) + "\n"

    def _section(self, section: Section) -> str:
        path = self.results / section.file
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            told = document["report"]
            if section.uses:
                other = self.results / section.uses
                document = document | {section.uses: json.loads(other.read_text(encoding="utf-8"))}
            *about, last = told["about"]
            parts = [f"### {told['title']}", *about, last, section.table(document)]
            for name, title, caption in told.get("figures", ()):
                if not (self.results / name).is_file():
                    raise InputError(f"--results {self.results}: there is no plot {name}, which {section.file} shows.")
                parts += [f"![{title}]({name})", *([f"*{caption}*"] if caption else [])]
            parts += told["notes"]
            if section.after is not None:
                parts.append(section.after(document))
            return "\n\n".join([*parts, _made(section.file, document)])
        except (OSError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"--results {self.results}: cannot read {section.file} ({error}).") from None
        except (KeyError, TypeError, IndexError) as error:
            raise InputError(f"{path} is not the results file that its table is made of: no {error}.") from None


def _made(name: str, document: dict[str, Any]) -> str:
    """How a file was made: its commands, and the machine."""
    told, environment = document["report"], document.get("environment", {})
    commands = environment.get("command", document.get("command", []))
    commands = [commands] if isinstance(commands, str) else commands
    if "teacher" in environment:
        commands = [environment["teacher"], *commands]
    machine = [document["machine"]] if "machine" in document else []
    machine += [told["made"]] if "made" in told else []
    if "processor" in environment:
        threads = environment["threads"]
        machine += [environment["processor"], f"{threads} thread{'s' if threads > 1 else ''}"]
        machine += [f"torch {environment['torch']}", f"Python {environment['python']}"]
    line = "; ".join([f"File [`{name}`]({name})", *machine]) + (", made by" if commands else ".")
    return line + ("\n\n```sh\n" + "\n".join(commands) + "\n```" if commands else "")
