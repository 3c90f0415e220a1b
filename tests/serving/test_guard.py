"""The door in front of viser's servers, knocked at over the network."""

from __future__ import annotations

import asyncio
import importlib
import types

import pytest
import viser
from support.browser import free_port
from support.knocking import HANDSHAKE, SECRET, ask, assert_closed
from viser.infra import WebsockServer
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from eugen_fields.errors import InputError
from eugen_fields.serving import ALLOW_HOST, Door, guard_pages, page_address
from eugen_fields.serving.guard import through


@pytest.fixture
def outside(tmp_path):
    path = tmp_path / "outside"
    path.write_text(SECRET)
    return path


@pytest.fixture
def serve():
    """Starts servers of viser that end with the test."""
    started = []

    def start(host="127.0.0.1", **options):
        started.append(viser.ViserServer(host=host, port=free_port(), verbose=False, **options))
        return started[-1]

    yield start
    for server in started:
        server.stop()


def test_visers_page_is_closed(serve, outside):
    guard_pages()
    server = serve()
    assert page_address(server) == f"http://127.0.0.1:{server.get_port()}"
    assert_closed(server.get_port(), outside)
    page = ask(server.get_port())
    assert page.headers["content-security-policy"] == "frame-ancestors 'self'"
    assert ask(server.get_port(), "/logo.svg", {"Accept-Encoding": "gzip"}).headers["content-encoding"] == "gzip"


def test_links_out_of_the_served_folder(outside, tmp_path):
    guard_pages()
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "index.html").write_text("public")
    (folder / "link").symlink_to(outside)
    (folder / "above").symlink_to(tmp_path)
    server = WebsockServer("127.0.0.1", free_port(), http_server_root=folder, verbose=False)
    server.start()
    try:
        assert ask(server._port).body == b"public"
        for path in ("/link", "/above/outside"):
            assert ask(server._port, path)[::2] == (404, b"404")
    finally:
        server.stop()


def test_a_server_without_files_is_guarded_too():
    """nerfstudio's legacy page comes from a web site of its own and opens a WebSocket here."""
    guard_pages()
    server = WebsockServer("127.0.0.1", free_port(), http_server_root=None, verbose=False)
    server.start()
    try:
        assert ask(server._port).status == 404
        assert ask(server._port, headers=HANDSHAKE | {"Origin": "https://viewer.nerf.studio"}).status == 403
        assert ask(server._port, headers=HANDSHAKE).status == 101
    finally:
        server.stop()


def test_allowed_names_come_from_the_flag_and_the_environment(serve, monkeypatch):
    monkeypatch.setenv(ALLOW_HOST, "two.example.org, .three.example.org")
    guard_pages(["one.example.org"])
    port = serve().get_port()
    for name in ("one.example.org", "two.example.org", "x.three.example.org"):
        assert ask(port, Host=name).status == 200
    monkeypatch.delenv(ALLOW_HOST)
    guard_pages()
    assert ask(port, Host="one.example.org").status == 200, "a server keeps its names"
    assert ask(serve().get_port(), Host="one.example.org").status == 403
    monkeypatch.setenv(ALLOW_HOST, "http://two.example.org")
    with pytest.raises(InputError, match="http://two.example.org"):
        guard_pages()


def test_an_open_page_prints_its_token(serve, capsys, outside):
    guard_pages()
    server = serve("0.0.0.0")
    port = server.get_port()
    printed = capsys.readouterr().out
    assert f"open {page_address(server)}\n" in printed
    token = page_address(server).partition("?token=")[2]
    assert ask(port).status == ask(port, headers=HANDSHAKE).status == ask(port, "/?token=wrong").status == 401
    assert ask(port, "/../" * 9 + str(outside)).status == 401
    assert ask(port, f"/?token={token}", HANDSHAKE).status == 101
    cookie = ask(port, f"/?token={token}").headers["set-cookie"].partition(";")[0]
    assert ask(port, Cookie=cookie).status == 200
    assert ask(port, headers=HANDSHAKE, Cookie=cookie).status == 101
    assert ask(port, "/../" * 9 + str(outside), Cookie=cookie).status == 404
    guard_pages(announce=False)
    serve("0.0.0.0")
    assert "token" not in capsys.readouterr().out


def test_an_unknown_viser_is_not_served(serve, monkeypatch):
    """A version that starts its server in another way must not end with an open page."""
    guard_pages()
    infra = importlib.import_module("viser.infra._infra")
    real = infra.websockets

    def background_worker(server, ready):
        server._ws_server = types.SimpleNamespace(close=lambda: None)
        server._broadcast_buffer = infra.AsyncMessageBuffer(asyncio.new_event_loop(), persistent_messages=True)
        ready.release()

    monkeypatch.setattr(infra.WebsockServer, "_background_worker", background_worker)
    with pytest.raises(InputError, match="cannot be guarded; install viser 0.2.7"):
        serve()
    assert infra.websockets is real


def test_the_form_of_requests_that_viser_1_has(tmp_path):
    (tmp_path / "index.html").write_text("public")
    called = []

    async def handler(connection, request):
        called.append(request.path)
        return Response(200, "OK", Headers(), b"public")

    process = through(Door(tmp_path, "127.0.0.1"), handler)

    def reply(path, **headers):
        return asyncio.run(process(object(), Request(path, Headers({"Host": "localhost"} | headers))))

    assert reply("/").status_code == 200 and "Content-Security-Policy" in reply("/").headers
    assert reply("/", **HANDSHAKE) is None
    called.clear()
    refused = reply("/../x")
    assert (refused.status_code, refused.headers["Content-Length"], refused.body) == (404, "3", b"404")
    assert reply("/", Host="example.org").status_code == reply("/", Origin="http://example.org").status_code == 403
    assert called == []
