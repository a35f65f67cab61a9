"""Where the server listens."""

import socket
import sys


def bound_socket(host: str, port: int) -> socket.socket:
    """A socket that holds the address but does not listen yet, so that clients are refused while models load.

    Raises OSError, which says which address cannot be had.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
    except OSError as error:
        listener.close()
        msg = f"cannot listen on {host} port {port}: {error.strerror}"
        raise OSError(msg) from error
    return listener


def welcome(models: str, listener: socket.socket) -> None:
    """Say on standard output what is served and where."""
    host, port = listener.getsockname()[:2]
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    url = f"http://{shown}:{port}"
    sys.stdout.write(
        f"emo-serve: {models} at {url} (documentation: {url}/docs)\n"
        f"Try: curl --data-binary @photo.jpg -H 'Content-Type: image/jpeg' {url}/classify\n"
    )
    sys.stdout.flush()
