"""Which requests a page's server answers: those for its own files, under its own name, from its own page.

Any web site that a user has open can send requests to 127.0.0.1. Browsers say under which name they ask (Host) and for
which site (Origin), so a server that compares both with its own name is closed to other sites: to WebSockets across
sites, and to names that are made to lead here later (DNS rebinding). A server that other computers can reach asks for a
token besides, which is printed where the command was started.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
import secrets
import socket
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Protocol
from urllib.parse import parse_qsl, urlencode

from eugen_fields.errors import InputError

_NAME = r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)"
_HOST = re.compile(rf"{_NAME}(?::(\d{{1,5}}))?")
_ORIGIN = re.compile(rf"(https?)://{_NAME}(?::(\d{{1,5}}))?")
_ALLOWED = re.compile(rf"\.?{_NAME}(?::\d{{1,5}})?")
_DEFAULT_PORTS = {"http": "80", "https": "443"}
_PAGES = ("/", "/index.html")
_WITHOUT_COOKIES = "/manifest.json"
"""Browsers ask for it without cookies, so without the token. It is a public file of viser."""
_MOST_NOTES = 8
"""Refused names that are printed: a hostile page must not fill the terminal."""

_ASK_FOR_TOKEN = """<!doctype html><title>Token</title>
<p>This page is open to the network and asks for a token: open the address that the command printed where it was
started, or enter the token that stands at its end.
<form><input name="token" size="40" autofocus> <button>Open</button></form>
"""


class Headers(Protocol):
    """Header fields of a request, by name; a name can have several values."""

    def get_all(self, key: str) -> Sequence[str]: ...


@dataclass
class Answer:
    """A response in place of viser's.

    Attributes:
        status, headers, body: of the response.
    """

    status: HTTPStatus
    body: str
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "text/plain; charset=utf-8"})


def is_public(host: str) -> bool:
    """Whether other computers may reach a server that listens on a host."""
    if host == "localhost":
        return False
    try:
        return not _is_loopback(host)
    except ValueError:  # a name, of which only the system knows where it leads
        return True


def is_websocket(headers: Headers) -> bool:
    """Whether a request opens a WebSocket, for which no file is read."""
    return any("websocket" in value.lower() for value in headers.get_all("Upgrade"))


class Door:
    """Answers what must not reach the server of a page.

    Args:
        folder: what the server may hand out; None: nothing.
        host: address that the server listens on.
        allow_hosts: further names under which the page is asked for, as of a computer that forwards a port. With a dot
            in front: all names that end so.

    Raises:
        InputError: an allowed host that is no name.

    Attributes:
        token: what a request must come with, once; None where only this computer can reach the server.
    """

    def __init__(self, folder: Path | None, host: str, allow_hosts: Sequence[str] = ()) -> None:
        self.folder, self.host = folder, host
        self.public = is_public(host)
        self.token = secrets.token_urlsafe(24) if self.public else None
        self.cookie = f"eugen_page_{secrets.token_hex(4)}"  # cookies know no ports: each page needs one of its own
        self.allowed = tuple(_allowed_name(name) for name in allow_hosts)
        self._noted: set[str] = set()
        self._lock = threading.Lock()

    def answer(self, path: str, headers: Headers) -> Answer | None:
        """The answer to a request, HTTP or WebSocket; None where the server may answer it.

        Args:
            path: as it stands in the request, query included.
            headers: of the request.
        """
        host, origins = _single(headers.get_all("Host")), headers.get_all("Origin")
        if host is None or not self._is_own_name(host):
            return self._refuse(host or "no name", "Host")
        foreign = next((origin for origin in origins if not self._is_own_page(origin, host)), None)
        if foreign is not None:
            return self._refuse(foreign, "Origin")
        path, _, query = path.partition("?")
        if self.token is not None and path != _WITHOUT_COOKIES:
            words = parse_qsl(query, keep_blank_values=True)
            given = any(name == "token" and self._is_token(value) for name, value in words)
            if given and path in _PAGES and not is_websocket(headers):
                return self._remember_token([word for word in words if word[0] != "token"])
            if not given and not self._has_cookie(headers):
                kind = {"Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-store"}
                return Answer(HTTPStatus.UNAUTHORIZED, _ASK_FOR_TOKEN, kind)
        if is_websocket(headers) or self._is_file(path):
            return None
        return Answer(HTTPStatus.NOT_FOUND, "404")

    def address(self, port: int) -> str:
        """Where to open the page on this computer, token included."""
        host = "127.0.0.1" if self.host in ("", "0.0.0.0", "::") else self.host
        name = f"[{host}]" if ":" in host else host
        return f"http://{name}:{port}" + ("" if self.token is None else f"/?token={self.token}")

    def _is_own_name(self, host: str) -> bool:
        match = _HOST.fullmatch(host)
        if match is None:
            return False
        name = _plain(match[1])
        if name in ("localhost", _plain(self.host)) or self._is_allowed(name):
            return True
        try:
            # an address cannot be made to lead elsewhere, as names can
            return _is_loopback(name) or self.public
        except ValueError:
            own = socket.gethostname().lower()
            return self.public and name in (own, f"{own.partition('.')[0]}.local")

    def _is_own_page(self, origin: str, host: str) -> bool:
        """Whether a page of an origin is the one that was loaded from a host."""
        match, own = _ORIGIN.fullmatch(origin), _HOST.fullmatch(host)
        if match is None or own is None:
            return False
        default = _DEFAULT_PORTS[match[1]]
        same = _plain(match[2]) == _plain(own[1]) and (match[3] or default) == (own[2] or default)
        return same or self._is_allowed(_plain(match[2]))

    def _is_allowed(self, name: str) -> bool:
        return any(name == one or (one.startswith(".") and name.endswith(one)) for one in self.allowed)

    def _has_cookie(self, headers: Headers) -> bool:
        # other servers of this computer set cookies too, and not all of them are well-formed
        parts = (part.strip().partition("=") for line in headers.get_all("Cookie") for part in line.split(";"))
        return any(name == self.cookie and self._is_token(value) for name, _, value in parts)

    def _is_token(self, value: str) -> bool:
        assert self.token is not None
        return hmac.compare_digest(value.encode(errors="replace"), self.token.encode())

    def _remember_token(self, query: list[tuple[str, str]]) -> Answer:
        """Sends the browser to the page without the token in its address, which others may come to see."""
        headers = {
            "Location": "./" + (f"?{urlencode(query)}" if query else ""),
            "Set-Cookie": f"{self.cookie}={self.token}; Path=/; HttpOnly; SameSite=Lax",
            "Cache-Control": "no-store",
        }
        return Answer(HTTPStatus.SEE_OTHER, "", headers)

    def _is_file(self, path: str) -> bool:
        """Whether a path names a file of the folder. No file of viser's has a name that needs decoding, so whatever
        could be decoded to something else is none."""
        names = path[1:].split("/") if path != "/" else ["index.html"]
        if self.folder is None or not path.startswith("/") or any(name in ("", ".", "..") for name in names):
            return False
        if not path.isprintable() or any(mark in path for mark in "\\%:"):
            return False
        try:
            found = self.folder.joinpath(*names).resolve(strict=True)
            return found.is_relative_to(self.folder.resolve()) and found.is_file()
        except (OSError, RuntimeError, ValueError):  # no such file, a circle of links, a name that no file can have
            return False

    def _refuse(self, found: str, header: str) -> Answer:
        found = ascii(found)[1:-1][:100]
        whose = "was asked for under" if header == "Host" else "was asked for by a page of"
        text = (
            f"This page {whose} {found}, which is not the name of its server. If you forward a port, "
            "give the name with --allow-host NAME (eugen-view) or EUGEN_ALLOW_HOST=NAME (ns-train, ns-viewer)."
        )
        with self._lock:
            new = found not in self._noted and len(self._noted) < _MOST_NOTES
            if new:
                self._noted.add(found)
        if new:
            print(f"A request was refused ({header} {found}). {text}", flush=True)
        return Answer(HTTPStatus.FORBIDDEN, text)


def _single(values: Sequence[str]) -> str | None:
    return values[0] if len(values) == 1 else None


def _plain(name: str) -> str:
    """A host as names are compared: without brackets and the last dot, in lower case."""
    return name.strip("[]").removesuffix(".").lower()


def _is_loopback(address: str) -> bool:
    found = ipaddress.ip_address(address)
    inner = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return (inner or found).is_loopback


def _allowed_name(text: str) -> str:
    if _ALLOWED.fullmatch(text) is None or not text.strip("."):
        raise InputError(
            f"the allowed host {text!r} is no name. Give one as it stands in the browser's address, such as "
            "box.example.org, without http:// and path; .example.org allows all names that end so."
        )
    return _plain(re.sub(r":\d+$", "", text) if not text.startswith("[") else text.rpartition("]")[0])
