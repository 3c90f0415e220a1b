"""setup.sh with interpreters and installers that only pretend: which installer is taken, and what a person is told."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from support.helpers import PROJECT

PYTHON = """\
#!/bin/bash
# Python as far as set-up asks for it: a version, venv, pip, and two imports.
echo "$(basename "$0") $*" >> "$CALLS"
case "$1 $2 $3" in
  "--version "*) echo "Python 3.11.7" ;;
  "-m venv "*) mkdir -p "$3/bin" "$3/lib" && cp "$0" "$3/bin/python" ;;
  "-m pip config") echo "$PIP_SETTINGS" ;;
  "-m pip install")
    case "$*" in
      *" uv") [ -n "$HAS_UV" ] || { echo "$NO_UV" >&2; exit 1; }; cp "$FAKE_UV" "$(dirname "$0")/uv" ;;
      *) [ -z "$PIP_FAILS" ] || { echo "$PIP_FAILS" >&2; exit 1; }; /bin/sleep "${SECONDS_OF_WORK:-0}" ;;
    esac ;;
esac
"""
UV = """\
#!/bin/bash
echo "uv $* index=$UV_DEFAULT_INDEX more=$UV_INDEX links=$UV_FIND_LINKS" >> "$CALLS"
[ "$1" != venv ] || { mkdir -p .venv/bin .venv/lib && cp "$FAKE_PYTHON" .venv/bin/python; exit; }
[ -z "$UV_FAILS" ] || { echo "$UV_FAILS" >&2; exit 1; }
/bin/sleep "${SECONDS_OF_WORK:-0}"
"""
SLEEP = "#!/bin/bash\nexec /bin/sleep 0.1\n"
"""Every fifteen seconds pass in a tenth of one."""


class Project:
    """A copy of what set-up reads, and a PATH of pretenders."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tools = folder / "tools"
        self.calls = folder / "calls"
        (folder / "scripts").mkdir(parents=True)
        self.tools.mkdir()
        for name in ("pyproject.toml", "scripts/setup.sh", "scripts/constraints.txt"):
            shutil.copy(PROJECT / name, folder / name)
        self.tool("python3.11", PYTHON)
        self.tool("fake_uv", UV)
        self.tool("sleep", SLEEP)
        self.tool("ldconfig", '#!/bin/bash\nprintf "%s\\n" $LIBRARIES\n')
        self.tool("ffmpeg", "#!/bin/bash\n")
        self.tool("apt-get", '#!/bin/bash\necho "apt-get $*" >> "$CALLS"\n')
        self.tool("id", "#!/bin/bash\necho 0\n")

    def tool(self, name: str, text: str) -> Path:
        path = self.tools / name
        path.write_text(text)
        path.chmod(0o755)
        return path

    def setup(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        self.calls.write_text("")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_", "PYTHON"))}
        pretended = {
            "PATH": f"{self.tools}:/usr/bin:/bin",
            "CALLS": str(self.calls),
            "FAKE_UV": str(self.tools / "fake_uv"),
            "FAKE_PYTHON": str(self.tools / "python3.11"),
            "LIBRARIES": "libusb-1.0.so.0 libgomp.so.1 libGL.so.1 libglib-2.0.so.0",
        }
        pretended |= dict.fromkeys(("PIP_SETTINGS", "NO_UV", "HAS_UV", "UV_FAILS", "PIP_FAILS"), "")
        command = ["bash", str(self.folder / "scripts" / "setup.sh"), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, env=kept | pretended | environment)

    def installs(self) -> list[str]:
        """The installs that were asked for, in order, by their installer and what they install."""
        lines = [line.split(" index=")[0].split() for line in self.calls.read_text().splitlines()]
        return [f"{'uv' if words[0] == 'uv' else 'pip'} {words[-1]}" for words in lines if "install" in words]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "project")


def test_pip_gets_uv_and_uv_installs_once(project: Project) -> None:
    result = project.setup("--dev", HAS_UV="yes")
    assert result.returncode == 0, result.stderr
    assert project.installs() == ["pip uv", "uv .[dev]"]
    assert "scripts/constraints.txt" in project.calls.read_text()
    again = project.setup("--dev", HAS_UV="yes")
    assert (again.returncode, again.stdout, project.installs()) == (0, "", [])
    (project.folder / "scripts" / "constraints.txt").write_text("torch==2.11.0\n")
    project.setup("--dev", HAS_UV="yes")
    assert project.installs() == ["uv .[dev]"], "other versions are installed, by the uv that is there"


def test_what_tests_need_is_enough_for_running_but_not_the_other_way_round(project: Project) -> None:
    project.setup(HAS_UV="yes")
    assert project.installs() == ["pip uv", "uv ."]
    project.setup("--dev", HAS_UV="yes")
    assert project.installs() == ["uv .[dev]"]
    project.setup(HAS_UV="yes")
    assert project.installs() == []


def test_a_uv_on_the_path_makes_the_environment_too(project: Project) -> None:
    project.tool("uv", UV)
    result = project.setup()
    assert result.returncode == 0, result.stderr
    assert project.installs() == ["uv ."]
    assert "-m venv" not in project.calls.read_text()


@pytest.mark.parametrize(
    "trouble",
    [{"NO_UV": "ERROR: No matching distribution found for uv"}, {"HAS_UV": "yes", "UV_FAILS": "no such wheel tag"}],
    ids=["no uv", "uv fails"],
)
def test_pip_alone_installs_where_uv_cannot(project: Project, trouble: dict[str, str]) -> None:
    result = project.setup("--dev", **trouble)
    assert result.returncode == 0, result.stderr
    assert project.installs()[0] == "pip uv" and project.installs()[-1] == "pip .[dev]"
    assert "pip" in result.stdout + result.stderr and trouble.get("UV_FAILS", "") in result.stderr
    assert "done" in result.stdout


@pytest.mark.parametrize(
    "said, told",
    [
        ("OSError: [Errno 28] No space left on device", "the disk is full; free about 9 GB"),
        ("NewConnectionError: Temporary failure in name resolution", "the package index cannot be reached"),
        ("ERROR: something else", "the last lines are above"),
    ],
)
def test_failures_end_in_one_line_that_says_what_would_do(project: Project, said: str, told: str) -> None:
    result = project.setup(HAS_UV="yes", UV_FAILS=said, PIP_FAILS=said)
    assert result.returncode == 1
    assert said in result.stderr and told in result.stderr.splitlines()[-1]
    assert project.setup(HAS_UV="yes").returncode == 0
    assert project.installs() == ["uv ."], "a failed set-up is not taken for a done one"


def test_without_an_index_nothing_is_tried_twice(project: Project) -> None:
    result = project.setup(NO_UV="ConnectTimeout: the index")
    assert result.returncode == 1 and "the package index cannot be reached" in result.stderr
    assert project.installs() == ["pip uv"]


def test_long_steps_say_what_they_do(project: Project) -> None:
    result = project.setup(HAS_UV="yes", SECONDS_OF_WORK="1")
    assert result.returncode == 0, result.stderr
    lines = [line for line in result.stdout.splitlines() if "installing with uv" in line]
    assert len(lines) >= 3 and all("s so far" in line for line in lines), result.stdout
    assert result.stderr == "", "tickers end without a word"


def test_uv_is_told_what_pip_knows(project: Project) -> None:
    settings = "\n".join(
        [
            "global.find-links='/wheels /more'",
            "global.index-url='file:///a'",
            r"global.extra-index-url='\nfile:///b\nfile:///c'",
        ]
    )
    project.setup(HAS_UV="yes", PIP_SETTINGS=settings)
    assert "index=file:///a more=file:///b file:///c links=/wheels,/more" in project.calls.read_text()
    project.setup("--dev", HAS_UV="yes", PIP_SETTINGS=settings, UV_DEFAULT_INDEX="file:///own")
    assert "index=file:///own more=file:///b file:///c" in project.calls.read_text()


def test_missing_system_packages_are_installed_and_no_others(project: Project) -> None:
    result = project.setup(HAS_UV="yes", LIBRARIES="libgomp.so.1 libusb-1.0.so.0 libglib-2.0.so.0")
    assert "installing system packages: libgl1 \n" in result.stdout
    assert "--no-install-recommends libgl1\n" in project.calls.read_text()
    project.setup(HAS_UV="yes")
    assert "apt-get" not in project.calls.read_text()


def test_other_interpreters_are_refused(project: Project) -> None:
    old = project.tool("python3.9", '#!/bin/bash\n[ "$1" != -c ] || exit 1\necho "Python 3.9.1"\n')
    result = project.setup(PYTHON=str(old))
    assert result.returncode == 1 and "is Python 3.9.1; Python 3.10, 3.11 or 3.12 is needed" in result.stderr
    assert "unknown option --fast" in project.setup("--fast").stderr
