"""Host and port of the page, checked before anything is loaded."""

from __future__ import annotations

import errno
import socket

from eugen_fields.errors import InputError


def choose_port(host: str, port: int) -> int:
    """The given port if it is free, or any free one for 0.

    Raises:
        InputError: the port is taken, out of range or not allowed, or the host is no address of this computer.
    """
    if not 0 <= port < 1 << 16:
        raise InputError(f"--port is {port}; it must lie between 0 and 65535.")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            return probe.getsockname()[1]
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise InputError(
                f"port {port} of {host} is in use. Give another one with --port, or --port 0 for any that is free."
            ) from None
        if error.errno == errno.EACCES:
            raise InputError(f"you may not use port {port}. Give --port 1024 or above.") from None
        raise InputError(
            f"--host {host} is no address of this computer ({error.strerror or error}). Leave --host out for this "
            "computer alone, or give 0.0.0.0 for everyone who can reach it."
        ) from None
