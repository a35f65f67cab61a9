"""Listening sockets."""

import errno
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from emo_serve.settings import Settings

BACKLOG = 2048


def bound_socket(host: str, port: int) -> socket.socket:
    """A socket bound to the address but not listening yet, so that clients are refused while models load.

    Raises OSError, which names the unavailable address.

    Two sockets that both reuse an address can hold it at the same time until one listens. So it is bound exclusively,
    unless connections of an earlier server still exist; then the second of two servers fails when it listens.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        try:
            _bind(listener, address)
        except OSError:
            listener.close()
            raise
    except (OSError, UnicodeError) as error:  # also where there is no such host, or can be none
        reason = error.strerror if isinstance(error, OSError) else "this is no name of a host"
        msg = f"cannot listen on {host} port {port}: {reason}"
        raise OSError(msg) from error
    return listener


def _bind(listener: socket.socket, address: tuple[Any, ...]) -> None:
    try:
        listener.bind(address)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)


def listen(listener: socket.socket) -> None:
    """Start listening on a bound socket; raises OSError, which names the unavailable address."""
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # old connections must not block a restart
    try:
        listener.listen(BACKLOG)
    except OSError as error:
        host, port = listener.getsockname()[:2]
        msg = f"cannot listen on {host} port {port}: {error.strerror}"
        raise OSError(msg) from error


@contextmanager
def listeners(settings: Settings) -> Iterator[tuple[socket.socket, socket.socket | None]]:
    """Sockets for requests and, if it has a port, for the administration; raises OSError as ``bound_socket``."""
    with ExitStack() as stack:
        listener = stack.enter_context(bound_socket(settings.host, settings.port))
        admin = None
        if settings.admin_port is not None:
            admin = stack.enter_context(bound_socket(settings.admin_host, settings.admin_port))
        yield listener, admin


@contextmanager
def reserved_ports(settings: Settings) -> Iterator[Settings]:
    """The settings with the ports for gRPC and the agent check, which are kept; raises OSError as ``bound_socket``.

    Each worker listens on them for itself (SO_REUSEPORT); a socket that does not listen gets no connections.
    """
    with ExitStack() as stack:
        wanted = {"grpc_port": settings.grpc_port, "agent_port": settings.agent_port}
        ports = {
            name: stack.enter_context(_reserved(settings.host, port))
            for name, port in wanted.items()
            if port is not None
        }
        yield settings.model_copy(update=ports)


@contextmanager
def _reserved(host: str, port: int) -> Iterator[int]:
    """A port that only sockets which reuse it can have."""
    with bound_socket(host, port) as nobodys:  # else two servers could share it
        family, address = nobodys.family, nobodys.getsockname()
    with socket.socket(family) as kept:
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        _bind(kept, address)
        yield address[1]


def welcome(
    models: str, obstacle: str, listener: socket.socket, admin: socket.socket | None, settings: Settings
) -> None:
    """Write to standard output which models are served and where, or the ``obstacle`` to that, and what else is on."""
    url = _url(listener, is_for_here=True)
    page = f", in a browser: {url}/" if settings.playground else ""
    sys.stdout.write(f"emo-serve: {models} at {_url(listener)} (documentation: {url}/docs){page}\n")
    key = "" if settings.api_keys_file is None else ' -H "Authorization: Bearer $KEY"'
    if obstacle:
        sys.stdout.write(f"NOT READY: {obstacle}. {url}/readyz says when that has changed\n")
    else:
        sys.stdout.write(f"Try: curl --data-binary @photo.jpg -H 'Content-Type: image/jpeg'{key} {url}/classify\n")
    if admin is not None:
        sys.stdout.write(f"Administration at {_url(admin)}\n")
    if settings.grpc_port is not None:
        sys.stdout.write(f"gRPC at {authority(settings.host, settings.grpc_port)}\n")
    if settings.agent_port is not None:
        sys.stdout.write(f"Agent check at {authority(settings.host, settings.agent_port)}\n")
    sys.stdout.flush()


def _url(listener: socket.socket, *, is_for_here: bool = False) -> str:
    """The address of the socket; a loopback address for a wildcard one if ``is_for_here``."""
    host, port = listener.getsockname()[:2]
    if is_for_here:
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    return f"http://{authority(host, port)}"


def authority(host: str, port: int) -> str:
    """``host:port``, an IPv6 address in brackets (RFC 3986, section 3.2)."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
