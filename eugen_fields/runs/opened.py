"""Which run nerfstudio's ns-eval, ns-export, ns-render and ns-viewer are opening at the moment, and what for."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nerfstudio.utils.rich_utils import CONSOLE

from eugen_fields.errors import InputError


@dataclass(frozen=True)
class Opening:
    """A run that nerfstudio is opening."""

    config_path: Path
    """Its config.yml, as --load-config names it."""
    command: Any
    """The command's own object, with its flags as attributes; whatever has called eval_setup, if that is no command."""

    @property
    def folder(self) -> Path:
        """The run's folder, absolute."""
        return self.config_path.resolve().parent


def opening() -> Opening | None:
    """The run that is being opened by whoever calls this; None: none is.

    nerfstudio.utils.eval_utils.eval_setup reads config.yml as text and then builds what it says, and nothing tells the
    configuration or the pipeline where that file lies: a run that was moved or copied would look for its checkpoints
    where it was. The path is taken from eval_setup's own frame, so that this holds for notebooks too.
    """
    frame = sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        if code.co_name == "eval_setup" and frame.f_globals.get("__name__") == "nerfstudio.utils.eval_utils":
            command = frame.f_back.f_locals.get("self") if frame.f_back is not None else None
            return Opening(Path(frame.f_locals["config_path"]), command)
        frame = frame.f_back
    return None


def check_interpolation(num_training: int, num_evaluation: int) -> None:
    """Where ns-render interpolate is opening a run with a single evaluation image, has it go from training image to
    training image: nerfstudio ends in a traceback where there are not two cameras to go between.

    Args:
        num_training: images of the run's scene.
        num_evaluation: likewise.

    Raises:
        InputError: there are not two training images either.
    """
    found = opening()
    source = getattr(found.command, "pose_source", None) if found is not None else None
    if source is None or (num_evaluation if source == "eval" else num_training) > 1:
        return
    if num_training < 2:
        raise InputError("there is no path between fewer than two images; `ns-render spiral` needs only one.")
    CONSOLE.print("There is one evaluation image, and no path in it: the path goes along the training images.")
    found.command.pose_source = "train"  # type: ignore[union-attr]
