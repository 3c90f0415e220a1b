"""Bad input is a ValueError that notebooks catch; commands end on it with one line and exit status 1."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from support.helpers import here

from eugen_fields.errors import InputError, exit_on_input_error, report_uncaught_input_errors
from eugen_fields.runs import open_run


def test_a_notebook_catches_bad_input_as_a_value_error(tmp_path: Path) -> None:
    try:
        open_run(tmp_path / "nowhere")
    except ValueError as error:
        assert isinstance(error, InputError) and str(error) == error.message
        assert error.message.startswith("there is no run")
    else:
        pytest.fail("opened nothing")


def test_a_command_ends_with_one_line_and_other_errors_pass() -> None:
    @exit_on_input_error()
    def command(error: Exception) -> None:
        raise error

    with pytest.raises(SystemExit) as ended:
        command(InputError("no such flag."))
    assert ended.value.code == "error: no such flag."  # Python prints a text to stderr and exits with status 1
    with pytest.raises(ValueError, match="a mistake of ours"):
        command(ValueError("a mistake of ours"))


def test_a_name_that_no_disk_holds_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended, exit_on_input_error():
        (tmp_path / ("x" * 300)).stat()
    assert str(ended.value.code).startswith("error: ") and "Give a shorter name." in str(ended.value.code)


@pytest.mark.parametrize("value", ["a" * 5000, "1, " * 5000, "0" * 4000 + " " + "b" * 4000])
def test_a_value_of_any_length_leaves_a_message_that_one_can_read(value: str) -> None:
    message = InputError(f"scene/transforms.json, frame 1: \"timestamp\" is '{value}'; it must be a number.").message
    assert message.startswith('scene/transforms.json, frame 1: "timestamp" is ') and len(message) < 3000
    assert message.endswith("it must be a number.") and " characters) ..." in message


def test_what_people_write_is_not_shortened() -> None:
    path = "/".join(["a folder", "x" * 255, "y" * 255, "transforms.json"])
    assert InputError(f"{path} is not there.").message == f"{path} is not there."


def test_an_uncaught_error_is_reported_in_one_line(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    others: list[type[BaseException]] = []
    monkeypatch.setattr(sys, "excepthook", lambda kind, error, traceback: others.append(kind))
    report_uncaught_input_errors()
    hook = sys.excepthook
    report_uncaught_input_errors()
    assert sys.excepthook is hook, "installed once"
    error = InputError("the scene is gone.")
    hook(InputError, error, None)
    assert capsys.readouterr().err == "error: the scene is gone.\n" and others == []
    hook(KeyError, KeyError("x"), None)
    assert others == [KeyError]


@pytest.mark.parametrize(
    "words",
    [
        ("eugen-export", "RUN"),
        ("eugen-transfer", "RUN"),
        ("eugen-view", "RUN"),
        ("eugen-bench", "render", "RUN"),
    ],
    ids=lambda words: words[0],
)
def test_every_command_names_a_run_that_is_not_there(words: tuple[str, ...], tmp_path: Path) -> None:
    name, *arguments = (str(tmp_path / "nowhere") if word == "RUN" else word for word in words)
    result = here(name, *arguments)
    assert result.returncode == 1 and "Traceback" not in result.stdout + result.stderr
    assert f"error: there is no run {tmp_path / 'nowhere'}" in result.stderr
