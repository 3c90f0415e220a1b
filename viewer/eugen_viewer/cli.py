"""The eugen-view command: runs in the browser."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from eugen_fields.errors import exit_on_input_error


@dataclass
class ViewOptions:
    """Shows a run in the browser, finished or still training; two runs are shown side by side with a slider between
    them. Nothing in a run is executed, so the run of a stranger can be opened."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN [RUN]")]
    """Folders of one or two runs (they hold config.yml), folders above exactly one run each, or field files."""
    port: int = 7010
    """Port of the page; 0 chooses any free port."""
    host: str = "127.0.0.1"
    """Address to listen on. 127.0.0.1: only this computer; 0.0.0.0: everyone who can reach this computer and knows the
    token that the printed address ends in."""
    allow_host: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Further name under which the page may be asked for, as of a computer that forwards the port. The flag may be
    given several times; .example.org allows all names that end so."""
    device: str | None = None
    """Device of the networks, such as cpu or cuda:0. None: CUDA if there is a device, else the CPU."""
    step: int | None = None
    """Training step of the checkpoint to show. None: the newest one, and newer ones as they are written."""


@exit_on_input_error()
def main() -> None:
    """The `eugen-view` command."""
    options = tyro.cli(ViewOptions, prog="eugen-view", description=ViewOptions.__doc__)
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", category=UserWarning, module="nerfstudio")
    from eugen_viewer.app import serve

    try:
        serve(
            options.runs,
            host=options.host,
            port=options.port,
            device=options.device,
            step=options.step,
            allow_hosts=options.allow_host,
        )
    except KeyboardInterrupt:
        print()


if __name__ == "__main__":
    main()
