"""Who holds an address."""

import contextlib
import socket
from pathlib import Path

import pytest

from emo_serve.process.listeners import bound_socket, listen
from tests.serving import commanded, emo_serve, free_port, settings_for


@pytest.mark.parametrize("workers", ["1", "2"])
def test_of_two_servers_that_start_at_once_one_says_in_a_line_that_it_cannot_listen(
    tmp_path: Path, workers: str
) -> None:
    (tmp_path / "models").mkdir()
    settings_for(tmp_path / "models")
    port = str(free_port())
    arguments = ("serve", "--port", port, "--models", str(tmp_path / "models"), "--workers", workers, "--no-tune")
    with contextlib.ExitStack() as ending:
        servers = [ending.enter_context(emo_serve(*arguments)) for _ in range(2)]
        for server in servers:
            ending.callback(server.kill)
        welcomes = [server.stdout.readline() for server in servers if server.stdout is not None]
        assert sorted(map(bool, welcomes)) == [False, True]
        loser = servers[welcomes.index("")]
        assert loser.wait(20) == 1
        assert loser.stderr is not None
        lines = [line for line in loser.stderr.read().splitlines() if not line.startswith("{")]
        assert lines == [f"emo-serve: cannot listen on 127.0.0.1 port {port}: Address already in use"]


def test_who_takes_an_address_has_it_alone_before_it_listens() -> None:
    with bound_socket("127.0.0.1", 0) as holder:
        with pytest.raises(OSError, match=r"^cannot listen on 127\.0\.0\.1 port \d+: Address already in use$"):
            bound_socket("127.0.0.1", holder.getsockname()[1])
        with pytest.raises(ConnectionRefusedError):  # nobody is kept waiting while models load
            socket.create_connection(holder.getsockname(), 5)


def test_a_host_that_is_none_is_named() -> None:
    for host in ("no host", "[::1]"):
        with pytest.raises(OSError, match=r"^cannot listen on .* port 0: .*(not known|not supported)"):
            bound_socket(host, 0)


@pytest.mark.parametrize("host", ["a..b", "a" * 64])
def test_a_host_that_can_be_none_is_named(host: str) -> None:
    with pytest.raises(OSError, match=r"^cannot listen on .* port 0: this is no name of a host$"):
        bound_socket(host, 0)


def test_the_connections_of_an_earlier_server_do_not_keep_the_next_from_its_address() -> None:
    with contextlib.ExitStack() as closing:
        earlier = bound_socket("127.0.0.1", 0)
        address = earlier.getsockname()
        listen(earlier)
        client = closing.enter_context(socket.create_connection(address))
        connection, _ = earlier.accept()
        closing.enter_context(connection)
        earlier.close()
        for _ in range(2):  # while a connection is open, and while it is waited for its last packets
            with bound_socket("127.0.0.1", address[1]) as holder:
                listen(holder)
            connection.close()
            client.close()


def test_of_two_that_both_hold_an_address_the_second_says_so_when_it_listens() -> None:
    with socket.socket() as first, socket.socket() as second:
        for holder in (first, second):
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        first.bind(("127.0.0.1", 0))
        second.bind(first.getsockname())
        listen(first)
        with pytest.raises(OSError, match=r"^cannot listen on 127\.0\.0\.1 port \d+: Address already in use$"):
            listen(second)


def test_a_server_can_be_started_again_at_once(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    port = free_port()
    for number in range(2):
        with (
            commanded(
                tmp_path / "models", tmp_path / f"log{number}", 1, EMO_PORT=str(port), EMO_TUNE="false"
            ) as server,
            socket.create_connection(("127.0.0.1", server.port), 20) as client,
        ):
            client.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
            assert client.recv(100).startswith(b"HTTP/1.1 200")
            assert server.stop() == 0
