"""The folder of a run: its own while it is trained, and the one where it is found when it is opened."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml
from nerfstudio.engine.trainer import TrainerConfig
from nerfstudio.utils.rich_utils import CONSOLE

from eugen_fields.errors import InputError, report_uncaught_input_errors
from eugen_fields.runs.checkpoints import read_newest_checkpoint
from eugen_fields.runs.opened import opening
from eugen_fields.runs.place import check_resume, holds_run, later_name
from eugen_fields.writing import written_beside


@dataclass
class OwnFolderConfig(TrainerConfig):
    """Training whose files are never mixed with those of another one, and whose folder may be moved afterwards."""

    def get_base_dir(self) -> Path:
        """The run's folder: that of config.yml where a run is opened, wherever it was trained."""
        opened = opening()
        if opened is not None:
            vars(self)["_folder"] = opened.folder  # asked for later too, when the run is open
        return vars(self).get("_folder") or super().get_base_dir()

    def get_checkpoint_dir(self) -> Path:
        """The folder of checkpoints. Where a run is opened, load_step becomes its newest checkpoint that can be read.

        Raises:
            InputError: a run is opened that has none.
        """
        report_uncaught_input_errors()
        folder = super().get_checkpoint_dir()
        if opening() is not None:
            self.load_step = int(read_newest_checkpoint(folder)[1].stem.removeprefix("step-"))
        return folder

    def take_place(self) -> bool:
        """Makes sure that no run is where this one goes. One that is named by its time starts a little later.

        Returns:
            whether this training continues the run that is there.

        Raises:
            InputError: there is a run, which this training does not continue.
        """
        folder, checkpoints = self.get_base_dir(), self.get_checkpoint_dir()
        if not holds_run(folder, checkpoints):
            return False
        if check_resume(checkpoints, self.load_dir, self.load_step, self.load_checkpoint):
            return True
        while holds_run(self.get_base_dir(), self.get_checkpoint_dir()):
            later = later_name(self.timestamp)
            if later is None:
                raise InputError(
                    f"{folder} holds a run already; nothing is overwritten. Give another --timestamp or --output-dir, "
                    f"or continue the run with --load-dir {checkpoints}. --load-config takes the place of all other "
                    "flags: with it, change `timestamp` in a copy of the file."
                )
            self.timestamp = later
        CONSOLE.print(f"{folder} holds a run already; this one goes to {self.get_base_dir()}.", soft_wrap=True)
        return False

    def write_config(self, continues: bool) -> None:
        """Writes config.yml. Where another training took the place meanwhile, this one takes another.

        Args:
            continues: of take_place: there may be one.

        Raises:
            InputError: it cannot be written, or what take_place raises.
        """
        while True:
            path = self.get_base_dir() / "config.yml"
            try:
                with written_beside(path, new=not continues, advice="Choose another place with --output-dir.") as file:
                    file.write_text(yaml.dump(self), encoding="utf-8")
            except FileExistsError:
                self.take_place()
                continue
            CONSOLE.log(f"Saving config to: {path}")
            return
