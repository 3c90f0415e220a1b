"""The page of eugen-view answers its own page alone, and asks for a token where it is open to the network."""

from __future__ import annotations

import contextlib
import http.server
import threading

import pytest
from support.browser import launch, needs_browser
from support.knocking import HANDSHAKE, SECRET, ask, assert_closed
from support.view_browser import KNOWN_FAULTS, serving, wait_for
from support.view_helpers import write_run

from eugen_fields.errors import InputError
from eugen_viewer.app import Viewer


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("doors") / "run")


def test_the_page_is_closed(run, tmp_path):
    (tmp_path / "outside").write_text(SECRET)
    with serving(run) as viewer:
        assert viewer.address == f"http://127.0.0.1:{viewer.port}"
        assert_closed(viewer.port, tmp_path / "outside")


def test_names_of_forwarding_computers(run):
    with serving(run, allow_hosts=("box.example.org",)) as viewer:
        own = {"Host": "box.example.org", "Origin": "https://box.example.org"}
        assert ask(viewer.port, headers=own).status == 200
        assert ask(viewer.port, headers=own | HANDSHAKE).status == 101
        assert ask(viewer.port, Host="example.org").status == 403
    with pytest.raises(InputError, match="'http://box' is no name"):
        Viewer([run], allow_hosts=("http://box",))


OPENS_A_SOCKET = """port => new Promise(done => {
    const socket = new WebSocket(`ws://127.0.0.1:${port}/`);
    socket.onopen = () => done(true);
    socket.onerror = () => done(false);
})"""


@contextlib.contextmanager
def another_site():
    """Address of a page of this computer's that is not the viewer's."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.mark.browser
@needs_browser[1]
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_the_printed_address_opens_the_page_and_other_sites_do_not(run, host):
    from playwright.sync_api import sync_playwright

    faults: list[str] = []
    with serving(run, host=host) as viewer, sync_playwright() as playwright:
        browser = launch(playwright)
        context = browser.new_context(viewport={"width": 900, "height": 600})
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        plain = page.goto(f"http://127.0.0.1:{viewer.port}", wait_until="domcontentloaded")
        assert plain.status == (200 if host == "127.0.0.1" else 401)
        if host == "0.0.0.0":
            page.fill("input", "no token")
            page.click("button")
            assert page.goto(viewer.address, wait_until="domcontentloaded").status == 200
            assert page.url == f"http://127.0.0.1:{viewer.port}/", "the token does not stay in the address"
        wait_for(page, lambda: viewer.panels, "a WebSocket of its own page", 60)
        (panel,) = viewer.panels.values()
        wait_for(page, lambda: panel.live.last is not None, "a picture", 60)
        other = context.new_page()  # it is sent the cookie of the first one: cookies know no ports
        with another_site() as address:
            other.goto(address)
            assert other.evaluate(OPENS_A_SOCKET, viewer.port) is False
        assert page.evaluate(OPENS_A_SOCKET, viewer.port) is True
        browser.close()
    assert not [fault for fault in faults if not any(part in fault for part in KNOWN_FAULTS)]
