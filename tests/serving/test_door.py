"""Which requests reach the server of a page: names, tokens and files, without a server."""

from __future__ import annotations

import pytest
from support.knocking import HANDSHAKE, SECRET, hostile_paths
from websockets.datastructures import Headers

from eugen_fields.errors import InputError
from eugen_fields.serving.door import Door, is_public


@pytest.fixture
def folder(tmp_path):
    served = tmp_path / "deep" / "served"
    (served / "assets").mkdir(parents=True)
    for name in ("index.html", "assets/index-1.js", "Inter_slnt,wght.ttf"):
        (served / name).write_text("public")
    (tmp_path / "outside").write_text(SECRET)
    (served / "link").symlink_to(tmp_path / "outside")
    (served / "above").symlink_to(tmp_path)
    (served / "circle").symlink_to(served / "circle")
    (served / "inner").symlink_to(served / "index.html")
    return served


def status(door, path="/", **headers):
    """Of the door's answer; 200 where the server answers."""
    answer = door.answer(path, Headers({"Host": "localhost:7010"} | headers))
    return 200 if answer is None else int(answer.status)


@pytest.mark.parametrize("path", ["/", "/index.html", "/assets/index-1.js?v=1", "/Inter_slnt,wght.ttf", "/inner"])
def test_files_of_the_folder_are_served(folder, path):
    assert status(Door(folder, "127.0.0.1"), path) == 200


@pytest.mark.parametrize("path", ["/link", "/above/outside", "/above", "/circle", "/assets", "", "index.html", "/nope"])
def test_links_out_of_the_folder_and_folders_are_not(folder, path):
    assert status(Door(folder, "127.0.0.1"), path) == 404


def test_no_path_leads_out_of_the_folder(folder, tmp_path):
    door = Door(folder, "127.0.0.1")
    for path in hostile_paths(tmp_path / "outside"):
        text = path.decode("ascii", "surrogateescape") if isinstance(path, bytes) else path
        assert status(door, text) == 404, path
    assert status(door, "/" + "a" * 5000) == 404


def test_links_that_are_made_later_are_seen(folder, tmp_path):
    door = Door(folder, "127.0.0.1")
    (folder / "assets" / "index-1.js").unlink()
    (folder / "assets" / "index-1.js").symlink_to(tmp_path / "outside")
    assert status(door, "/assets/index-1.js") == 404


@pytest.mark.parametrize(
    ("host", "own", "foreign"),
    [
        ("127.0.0.1", "localhost LOCALHOST. 127.0.0.1:7010 127.3.2.1 [::1]:9000 [::ffff:127.0.0.1]", "10.0.0.1 box"),
        ("0.0.0.0", "localhost 10.0.0.1:7010 [fe80::1]:7010", "example.org localhost.example.org"),
        ("box.local", "box.local:7010 BOX.local", "example.org a.box.local"),
    ],
)
def test_names_of_the_server(host, own, foreign):
    door = Door(None, host)
    socket = {**HANDSHAKE, "Cookie": f"{door.cookie}={door.token}"}
    for name in own.split():
        assert status(door, **socket, Host=name, Origin=f"http://{name}") == 200, name
    for name in [*foreign.split(), "user@localhost", "localhost/", "localhost:port", "[::1", ""]:
        assert status(door, **socket, Host=name) == 403, name


def test_two_hosts_in_one_request_are_refused():
    headers = Headers([("Host", "localhost"), ("Host", "example.org")])
    assert Door(None, "127.0.0.1").answer("/", headers).status == 403


@pytest.mark.parametrize("origin", ["http://localhost", "http://localhost:7011", "http://127.0.0.1:7010", "null", "x"])
def test_pages_of_other_sites_and_ports_are_refused(origin):
    door = Door(None, "127.0.0.1")
    assert status(door, **HANDSHAKE, Origin="http://localhost:7010") == 200
    assert status(door, **HANDSHAKE, Origin=origin) == 403


def test_allowed_names():
    door = Door(None, "127.0.0.1", ["Box.example.org:8443", ".share.example.com"])
    for name in ("box.example.org", "box.example.org:80", "a.share.example.com"):
        assert status(door, **HANDSHAKE, Host=name, Origin=f"http://{name}") == 200
    # a forwarder that ends TLS, and one that asks under the server's own name
    assert status(door, **HANDSHAKE, Host="box.example.org", Origin="https://box.example.org") == 200
    assert status(door, **HANDSHAKE, Origin="https://box.example.org") == 200
    for name in ("example.org", "share.example.com", "xshare.example.com", "box.example.org.evil.org"):
        assert status(door, **HANDSHAKE, Host=name) == 403, name
        assert status(door, **HANDSHAKE, Origin=f"https://{name}") == 403, name


@pytest.mark.parametrize("name", ["http://box", "box/page", "", ".", "a b", "*"])
def test_allowed_names_that_are_none(name):
    with pytest.raises(InputError, match="is no name.*without http"):
        Door(None, "127.0.0.1", [name])


def test_the_token_of_an_open_page(folder):
    door = Door(folder, "0.0.0.0")
    assert door.address(7010) == f"http://127.0.0.1:7010/?token={door.token}"
    assert len(door.token) >= 32 and door.token != Door(folder, "0.0.0.0").token
    for path in ("/", "/assets/index-1.js", "/?token=", f"/?token={door.token}x", "/?token=\udcff", "/link"):
        assert status(door, path) == 401, path
        assert status(door, path, **HANDSHAKE) == 401, path
        assert status(door, path, Cookie=f"{door.cookie}=wrong; token={door.token}") == 401, path
    answer = door.answer(f"/?a=1&token={door.token}", Headers({"Host": "localhost"}))
    assert answer.status == 303 and answer.headers["Location"] == "./?a=1"
    cookie = answer.headers["Set-Cookie"].partition(";")[0]
    assert {"HttpOnly", "SameSite=Lax"} <= set(answer.headers["Set-Cookie"].split("; "))
    assert status(door, Cookie=cookie) == status(door, "/assets/index-1.js", Cookie=f'a={{"x": [1, "b; {cookie}') == 200
    assert status(door, **HANDSHAKE, Cookie=cookie) == 200
    assert status(door, f"/?token={door.token}", **HANDSHAKE) == 200, "clients without cookies"
    assert status(door, "/link", Cookie=cookie) == 404
    assert status(door, Host="example.org", Cookie=cookie) == 403, "the token opens no other name"
    assert status(door, **HANDSHAKE, Origin="http://example.org", Cookie=cookie) == 403


def test_pages_of_this_computer_alone_ask_for_no_token():
    assert Door(None, "127.0.0.1").token is None
    assert Door(None, "::1").address(80) == "http://[::1]:80"
    assert all(map(is_public, ("0.0.0.0", "::", "", "192.168.0.2", "box")))
    assert not any(map(is_public, ("127.0.0.1", "127.8.8.8", "localhost", "::1")))


def test_refused_names_are_printed_once_and_not_without_end(capsys):
    door = Door(None, "127.0.0.1")
    for _ in range(3):
        assert status(door, Host="box.example.org") == 403
    printed = capsys.readouterr().out
    assert printed.count("box.example.org") == 2 and "--allow-host NAME" in printed and "EUGEN_ALLOW_HOST" in printed
    for count in range(100):
        status(door, Host=f"\xe9{count}" + "x" * 1000)
    printed = capsys.readouterr().out
    assert printed.isascii() and len(printed.splitlines()) < 10 and len(printed) < 10_000
