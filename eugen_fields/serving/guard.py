"""Puts a door in front of every server of viser in this process: those of eugen-view, ns-train and ns-viewer."""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import threading
import weakref
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

from eugen_fields.errors import InputError
from eugen_fields.serving.door import Answer, Door, is_websocket

if TYPE_CHECKING:
    import viser

ALLOW_HOST = "EUGEN_ALLOW_HOST"
"""Environment variable: further names, separated by commas, under which pages may be asked for."""

_ADDED_HEADERS = {"Content-Security-Policy": "frame-ancestors 'self'", "Referrer-Policy": "same-origin"}
"""Of every file: no other site may show the page in a frame and have its buttons pressed by mistake."""

_starting = threading.Lock()
_doors: weakref.WeakKeyDictionary[Any, Door] = weakref.WeakKeyDictionary()


def guard_pages(allow_hosts: Sequence[str] = (), *, announce: bool = True) -> None:
    """Has every server that viser starts from now on answer through a Door. Calling it again is allowed; the last names
    count.

    viser (0.2.7 and 1.x) gives its own handler of requests to `serve` of the package websockets, and offers no place
    for another one. While a server starts, viser's name for that package stands for one whose `serve` asks the door
    first.

    Args:
        allow_hosts: names as in Door, besides those of EUGEN_ALLOW_HOST.
        announce: print the address of pages that ask for a token.

    Raises:
        InputError: a host that is no name. When a server starts: a version of viser that starts it in another way.
    """
    infra: Any = importlib.import_module("viser.infra._infra")
    names = [name.strip() for name in os.environ.get(ALLOW_HOST, "").split(",") if name.strip()]
    allowed = (*allow_hosts, *names)
    Door(None, "localhost", allowed)  # complains now, not when a page opens
    start = inspect.unwrap(infra.WebsockServer.start)

    @functools.wraps(start)
    def guarded_start(server: Any) -> None:
        door = Door(server._http_server_root, server._host, allowed)
        with _starting:
            websockets = infra.websockets
            stand_in = _Websockets(websockets, door)
            infra.websockets = stand_in
            try:
                start(server)
            finally:
                infra.websockets = websockets
        if not stand_in.served:
            server.stop()
            raise InputError("this version of viser cannot be guarded; install viser 0.2.7, which nerfstudio asks for.")
        _doors[server] = door
        if announce and door.token is not None:
            print(
                f"The page is open to the network (it listens on {server._host or 'all addresses'}) and asks for a "
                f"token: open {door.address(server._port)}",
                flush=True,
            )

    infra.WebsockServer.start = guarded_start


def page_address(server: viser.ViserServer) -> str:
    """Where to open the page of a server on this computer, token included.

    Raises:
        KeyError: the server was started before guard_pages.
    """
    return _doors[server._websock_server].address(server.get_port())


class _Websockets:
    """Stands for the package websockets, or a module of it: whatever `serve` is found in it asks a door first.

    Attributes:
        served: whether one was called.
    """

    def __init__(self, module: ModuleType, door: Door, parent: _Websockets | None = None) -> None:
        self._module, self._door, self._parent = module, door, parent
        self.served = False

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._module, name)
        if name == "serve":
            return functools.partial(self._serve, value)
        if isinstance(value, ModuleType) and value.__name__.startswith("websockets."):
            return _Websockets(value, self._door, self)
        return value

    def _serve(self, serve: Callable[..., Any], *args: Any, process_request: Any = None, **options: Any) -> Any:
        self._note()
        return serve(*args, process_request=through(self._door, process_request), **options)

    def _note(self) -> None:
        self.served = True
        if self._parent is not None:
            self._parent._note()


def through(door: Door, handler: Callable[..., Any] | None) -> Callable[..., Any]:
    """A `process_request` of websockets that asks a door before it asks another handler.

    Args:
        door: whom to ask first.
        handler: of viser; None: what it does not answer is a WebSocket.

    Returns:
        for both forms that websockets has: called with path and headers (viser 0.2.7), or with connection and request
        (viser 1.x).
    """

    async def process_request(first: Any, second: Any) -> Any:
        legacy = isinstance(first, str)
        path, headers = (first, second) if legacy else (second.path, second.headers)
        answer = door.answer(path, headers)
        if answer is not None:
            return _legacy_response(answer) if legacy else _response(answer)
        if handler is None or is_websocket(headers):
            return None
        response = handler(first, second)
        if inspect.isawaitable(response):
            response = await response
        if response is not None:
            (response[1] if legacy else response.headers).update(_ADDED_HEADERS)
        return response

    return process_request


def _legacy_response(answer: Answer) -> tuple[Any, dict[str, str], bytes]:
    return answer.status, answer.headers, answer.body.encode()


def _response(answer: Answer) -> Any:
    from websockets.datastructures import Headers
    from websockets.http11 import Response

    body = answer.body.encode()
    headers = Headers({**answer.headers, "Content-Length": str(len(body)), "Connection": "close"})
    return Response(int(answer.status), answer.status.phrase, headers, body)
