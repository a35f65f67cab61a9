"""Servers whose answers never end, or never begin: the client's timeout holds."""

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator

import httpx
import pytest
from emo_client import AsyncClient, Client, Unreachable


def drip() -> Iterator[bytes]:
    while True:
        time.sleep(0.05)
        yield b" "


async def drip_later() -> AsyncIterator[bytes]:
    while True:
        await asyncio.sleep(0.05)
        yield b" "


def test_an_answer_that_never_ends_is_given_up_in_time() -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(200, content=drip()))
    client = Client("http://server", timeout=0.3, transport=transport)
    with client, pytest.raises(Unreachable, match="in time"):
        client.classify(b"picture")

    async def ask() -> None:
        transport = httpx.MockTransport(lambda _: httpx.Response(200, content=drip_later()))
        async with AsyncClient("http://server", timeout=0.3, transport=transport) as client:
            with pytest.raises(Unreachable, match="in time"):
                await client.classify(b"picture")

    asyncio.run(ask())


Behaviour = Callable[[socket.socket], None]


def drip_head(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
    while True:
        connection.sendall(b"a")
        time.sleep(0.05)


def drip_body(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while True:
        connection.sendall(b" ")
        time.sleep(0.05)


def only_announce(connection: socket.socket) -> None:
    while True:
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n" * 50)


def read_slowly(connection: socket.socket) -> None:
    while connection.recv(256):
        time.sleep(0.05)


def answer_once_then_drip(connection: socket.socket) -> None:
    connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n{"models": []}')
    connection.recv(65_536)
    drip_head(connection)


@contextlib.contextmanager
def server_that(behaves: Behaviour) -> Iterator[str]:
    """The address of a server that has read the beginning of a request and goes on like this."""

    def serve(connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            connection.recv(256)
            behaves(connection)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("behaves", [drip_head, drip_body, only_announce, read_slowly])
def test_a_server_that_never_stops_beginning_is_given_up_in_time(behaves: Behaviour) -> None:
    large = bytes(20_000_000)
    with server_that(behaves) as url:
        began = time.monotonic()
        with Client(url, timeout=0.5) as client, pytest.raises(Unreachable):
            client.classify(large)

        async def ask() -> None:
            async with AsyncClient(url, timeout=0.5) as client:
                with pytest.raises(Unreachable):
                    await client.classify(large)

        asyncio.run(ask())
        assert time.monotonic() - began < 30  # without an end it would take hours


@pytest.mark.parametrize("behaves", [drip_head, drip_body, only_announce])
def test_an_address_of_a_picture_that_never_ends_is_given_up_in_time(behaves: Behaviour) -> None:
    with server_that(behaves) as url, Client(url, timeout=0.5) as client, pytest.raises(Unreachable, match=url):
        client.classify(f"{url}/cat.jpg")


def test_a_connection_that_is_kept_ends_in_time_too() -> None:
    with server_that(answer_once_then_drip) as url, Client(url, timeout=3, retries=0) as client:
        assert client.models() == []
        with pytest.raises(Unreachable, match=r"in time|timed out"):
            client.models()
