"""The server: the runs that are shown, the browsers that look at them, and the watch for new checkpoints."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from eugen_fields.errors import InputError, describe
from eugen_fields.serving import guard_pages, is_public, page_address
from eugen_viewer.address import choose_port
from eugen_viewer.curves import draw_curves, read_curves
from eugen_viewer.jobs import Worker
from eugen_viewer.opened import OpenedRun
from eugen_viewer.panel import Panel
from eugen_viewer.pictures.photos import Photos, find_photos

if TYPE_CHECKING:
    import viser

_POLL_SECONDS = 1.0


class Viewer:
    """Serves runs until it is closed.

    Args:
        paths: one run, or two to compare.
        host, port: address of the page; port 0 is any free one.
        device: device of the networks, as in open_run.
        step: training step of the checkpoints; None: the newest, and newer ones as they are written.
        allow_hosts: further names under which the page may be asked for.

    Raises:
        InputError: there is no such run, or the address cannot be used.

    Attributes:
        address: where to open the page on this computer; with a token if other computers can reach it.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        device: str | None = None,
        step: int | None = None,
        allow_hosts: Sequence[str] = (),
    ) -> None:
        if not 1 <= len(paths) <= 2:
            raise InputError(f"{len(paths)} runs are given; give one, or two to see them side by side.")
        port = choose_port(host, port)
        guard_pages(allow_hosts, announce=False)
        self.runs = [OpenedRun(path, device, step) for path in paths]
        self.photos = self._find_photos()
        self.worker = Worker()
        self.panels: dict[int, Panel] = {}
        import viser

        self.server = viser.ViserServer(host=host, port=port, label="eugen-view", verbose=False)
        self.port = self.server.get_port()
        self.address = page_address(self.server)
        self.server.gui.configure_theme(
            control_layout="collapsible", control_width="large", show_logo=False, show_share_button=False
        )
        self.server.scene.set_up_direction("+z")
        self.server.on_client_connect(self._welcome)
        self.server.on_client_disconnect(self._farewell)
        self._curves: str | None = None
        self._closed = threading.Event()
        self._follower = threading.Thread(target=self._follow, daemon=True, name="eugen-view checkpoints")
        self._follower.start()

    def _find_photos(self) -> Photos | None:
        try:
            return find_photos(self.runs[0])
        except InputError as error:
            print(f"eugen-view: {error.message}")
            return None

    def _welcome(self, client: viser.ClientHandle) -> None:
        panel = Panel(client, self.runs, self.worker, self.photos)
        self.panels[client.client_id] = panel
        if self._curves is not None:
            panel.show_curves(self._curves)
        panel.begin()

    def _farewell(self, client: viser.ClientHandle) -> None:
        panel = self.panels.pop(client.client_id, None)
        if panel is not None:
            panel.close()

    def _follow(self) -> None:
        """Shows new checkpoints as they are written, and the curves up to each of them."""
        self._draw_curves()
        while not self._closed.wait(_POLL_SECONDS):
            newer = [run.refresh() for run in self.runs]
            if any(newer):
                for panel in list(self.panels.values()):
                    panel.refresh()
                self._draw_curves()

    def _draw_curves(self) -> None:
        """Draws the training curves once for all browsers."""
        sides = ("left", "right") if len(self.runs) > 1 else ("",)
        try:
            self._curves = draw_curves({side: read_curves(run.folder) for side, run in zip(sides, self.runs)})
        except Exception as error:  # damaged event files raise many kinds; the render goes on without curves
            self._curves = f"The training curves cannot be drawn: {describe(error)}"
        for panel in list(self.panels.values()):
            panel.show_curves(self._curves)

    def close(self) -> None:
        """Ends the server and all work for its pages."""
        self._closed.set()
        self.worker.close()
        self._follower.join(timeout=10)
        self.server.stop()


def serve(
    paths: Sequence[Path],
    *,
    host: str,
    port: int,
    device: str | None,
    step: int | None,
    allow_hosts: Sequence[str],
) -> None:
    """Shows runs until Ctrl-C."""
    viewer = Viewer(paths, host=host, port=port, device=device, step=step, allow_hosts=allow_hosts)
    if is_public(host):
        print(
            f"eugen-view: --host {host} opens the page to everyone who can reach this computer and knows the token at "
            "the end of its address. Pages are not encrypted: use it only in networks that you trust."
        )
    print(f"eugen-view: open {viewer.address} in a browser; Ctrl-C ends it.", flush=True)
    try:
        threading.Event().wait()
    finally:
        viewer.close()
