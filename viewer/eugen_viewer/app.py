"""The server: runs on show, browsers looking at them, and a watch for new checkpoints."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from eugen_fields.errors import InputError
from eugen_viewer.address import choose_port, is_public
from eugen_viewer.cameras import View
from eugen_viewer.jobs import Worker
from eugen_viewer.opened import OpenedRun
from eugen_viewer.panel import Panel
from eugen_viewer.photos import Photos, find_photos

if TYPE_CHECKING:
    import viser

_POLL_SECONDS = 1.0


class Viewer:
    """Serves runs until it is closed.

    Args:
        paths: one run, or two to compare.
        host, port: where; port 0 is any free one.
        device: of the networks, as in open_run.
        step: of the checkpoints; None: the newest, and newer ones as they come.

    Raises:
        InputError: there is no such run, or the address cannot be used.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        device: str | None = None,
        step: int | None = None,
    ) -> None:
        if not 1 <= len(paths) <= 2:
            raise InputError(f"{len(paths)} runs are given; give one, or two to see them side by side.")
        port = choose_port(host, port)
        self.runs = [OpenedRun(path, device, step) for path in paths]
        self.photos = self._find_photos()
        self.worker = Worker()
        self.panels: dict[int, Panel] = {}
        import viser

        self.server = viser.ViserServer(host=host, port=port, label="eugen-view", verbose=False)
        self.port = self.server.get_port()
        self.server.gui.configure_theme(
            control_layout="collapsible", control_width="large", show_logo=False, show_share_button=False
        )
        self.server.scene.set_up_direction("+z")
        self.server.on_client_connect(self._welcome)
        self.server.on_client_disconnect(self._farewell)
        self._closed = threading.Event()
        self._follower = threading.Thread(target=self._follow, daemon=True, name="eugen-view checkpoints")
        self._follower.start()

    def _find_photos(self) -> Photos | None:
        try:
            return find_photos(self.runs[0])
        except InputError as error:
            print(f"eugen-view: {error.message}")
            return None

    def start_view(self) -> View:
        """Where a new browser looks from: as the first photo, else from a corner."""
        if self.photos is not None:
            return self.photos.view(0)
        aabb = self.runs[0].shown.run.aabb.numpy().astype(np.float64)
        center, distance = aabb.mean(axis=0), 0.9 * float(np.linalg.norm(aabb[1] - aabb[0]))
        back = np.array([1.0, -1.0, 0.6]) / np.linalg.norm([1.0, -1.0, 0.6])
        right = np.cross([0.0, 0.0, 1.0], back)
        right /= np.linalg.norm(right)
        pose = np.stack([right, np.cross(back, right), back, center + distance * back], axis=1)
        return View(pose, math.radians(50.0), 1.0)

    def _welcome(self, client: viser.ClientHandle) -> None:
        panel = Panel(client, self.runs, self.worker, self.photos)
        panel.stage.look_through(self.start_view())
        self.panels[client.client_id] = panel
        panel.live.wake()

    def _farewell(self, client: viser.ClientHandle) -> None:
        panel = self.panels.pop(client.client_id, None)
        if panel is not None:
            panel.close()

    def _follow(self) -> None:
        """Takes up new checkpoints as they are written."""
        while not self._closed.wait(_POLL_SECONDS):
            newer = [run.refresh() for run in self.runs]
            if any(newer):
                for panel in list(self.panels.values()):
                    panel.refresh()

    def close(self) -> None:
        """Ends the page and all work."""
        self._closed.set()
        self.worker.close()
        self._follower.join(timeout=10)
        self.server.stop()


def serve(paths: Sequence[Path], *, host: str, port: int, device: str | None, step: int | None) -> None:
    """Shows runs until Ctrl-C."""
    viewer = Viewer(paths, host=host, port=port, device=device, step=step)
    if is_public(host):
        print(
            f"warning: --host {host} lets everyone who can reach this computer look, without a password. The page's "
            "server (viser) also hands out any file that you can read. Use it in networks that you trust alone."
        )
    where = "127.0.0.1" if host == "0.0.0.0" else host
    print(f"eugen-view: open http://{where}:{viewer.port} in a browser; Ctrl-C ends it.", flush=True)
    try:
        threading.Event().wait()
    finally:
        viewer.close()
