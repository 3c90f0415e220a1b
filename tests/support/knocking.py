"""Requests that a page's server must not answer, byte by byte as they are sent: no client tidies their paths up."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import NamedTuple

SECRET = "what stands in files outside"
HANDSHAKE = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}
"""Of a WebSocket, in RFC 6455's example."""


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


def ask(port: int, path: str | bytes = "/", headers: dict[str, str] | None = None, **more: str) -> Reply:
    """The reply to a GET request on 127.0.0.1. The body of an opened WebSocket is not waited for.

    Args:
        port: of the server.
        path: sent as it is.
        headers: of the request, beside a Host that is right if they name none.
    """
    fields = {"Host": f"127.0.0.1:{port}"} | (headers or {}) | more
    path = path.encode("latin-1") if isinstance(path, str) else path
    lines = [b"GET " + path + b" HTTP/1.1", *(f"{name}: {value}".encode() for name, value in fields.items() if value)]
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(b"\r\n".join(lines) + b"\r\n\r\n")
        received = b""
        while not (b"\r\n\r\n" in received and received.startswith(b"HTTP/1.1 101")):
            part = connection.recv(1 << 16)
            if not part:
                break
            received += part
    head, _, body = received.partition(b"\r\n\r\n")
    first, *rest = head.decode("latin-1").split("\r\n")
    names = (line.partition(": ") for line in rest)
    return Reply(int(first.split()[1]), {name.lower(): value for name, _, value in names}, body)


_UPWARD = ("../", "./../", "..//", "%2e%2e/", "%2e%2e%2f", "..%2f", "%252e%252e%252f", "..\\", "..%5c", "....//")


def hostile_paths(outside: Path) -> list[str | bytes]:
    """Paths that lead, or could be taken to lead, to a file outside of what a server hands out."""
    target = str(outside)[1:]
    paths: list[str | bytes] = [f"//{target}", f"///{target}", f"/{outside}", f"file://{outside}", target, "/\0"]
    paths += [b"/logo.svg\0" + target.encode(), f"/index.html/../../../{target}", "/assets", "/assets/", "/.", "/.."]
    paths += [f"/logo.svg%00{target}", f"/%2f{target}", f"/%2F{target}", "/index.html/", "//index.html", "//", "/\xe9"]
    for count in range(1, 21):
        for up in _UPWARD:
            paths += ["/" + up * count + target, "/assets/" + up * count + target]
        paths.append("http://127.0.0.1/" + "../" * count + target)
    return paths


def assert_closed(port: int, outside: Path) -> None:
    """Knocks at the page of a server that only this computer may reach: it serves its page, and nothing else.

    Args:
        port: of the server.
        outside: a file that holds SECRET and that the server must not hand out.
    """
    own = f"http://127.0.0.1:{port}"
    assert ask(port).status == ask(port, "/?darkMode").status == ask(port, Origin=own).status == 200
    assert ask(port, headers=HANDSHAKE | {"Origin": own}).status == 101
    for path in hostile_paths(outside):
        reply = ask(port, path)
        assert reply.status == 404, (path, reply)
        assert SECRET.encode() not in reply.body, path
        if not isinstance(path, bytes) and "\0" not in path:
            assert ask(port, path, Upgrade="WebSocket").status in (400, 404, 426), path
    for headers in ({}, HANDSHAKE):
        for host in ("example.org", f"example.org:{port}", "127.0.0.1.example.org", "localhost@example.org", "8.8.8.8"):
            assert ask(port, headers=headers | {"Host": host}).status == 403, host
            assert ask(port, headers=headers | {"Host": host, "Origin": f"http://{host}"}).status == 403, host
        for origin in ("http://example.org", f"http://localhost:{port}", "http://127.0.0.1:1", "null", f"{own}.org"):
            assert ask(port, headers=headers | {"Origin": origin}).status == 403, origin
        assert ask(port, headers=headers | {"Host": ""}).status == 403
