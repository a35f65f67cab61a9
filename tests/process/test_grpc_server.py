"""gRPC as the command serves it: its port, its workers, how it stops, and what it costs where it is off."""

import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from emo_serve.process.listeners import reserved_ports
from emo_serve.settings import Settings
from tests.protocols.grpc_calls import SERVICE, InferResponse, encoded, outputs_of
from tests.protocols.pictures import RED
from tests.serving import commanded, emo_serve, eventually, free_port, settings_for

BODY = encoded(RED).SerializeToString()


def listening(port: int, *, shared: bool) -> socket.socket:
    """Another server on the port, which may let others share it."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(shared))
    listener.bind(("127.0.0.1", port))
    listener.listen()
    return listener


@pytest.mark.parametrize("shared", [True, False])
def test_a_port_that_another_server_has_is_refused(shared: bool) -> None:
    port = free_port()
    with (
        listening(port, shared=shared),
        pytest.raises(OSError, match=f"port {port}"),
        reserved_ports(Settings(grpc_port=port)),
    ):
        pass


def test_a_reserved_port_is_kept_for_the_workers_and_refuses_clients() -> None:
    with reserved_ports(Settings(grpc_port=0)) as settings:
        assert settings.grpc_port
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", settings.grpc_port))
        with pytest.raises(OSError, match="cannot listen"), reserved_ports(settings):
            pass
        with listening(settings.grpc_port, shared=True), listening(settings.grpc_port, shared=True):
            socket.create_connection(("127.0.0.1", settings.grpc_port)).close()
    with reserved_ports(Settings()) as settings:
        assert settings.grpc_port is None


class Client(threading.Thread):
    """Asks one call after the other on a connection of its own until it is refused."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self.answers = 0
        self.lost: list[grpc.RpcError] = []
        self._port = port

    def run(self) -> None:
        options = [("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(f"127.0.0.1:{self._port}", options) as channel:
            infer: Callable[..., bytes] = channel.unary_unary(f"/{SERVICE}/ModelInfer")
            while True:
                try:
                    answer = infer(BODY, timeout=20)
                except grpc.RpcError as error:
                    self.lost.append(error)
                    return
                assert outputs_of(InferResponse.FromString(answer))["scores"].shape[0] == 1
                self.answers += 1


@pytest.mark.parametrize("workers", [1, 2])
def test_calls_under_way_when_the_server_stops_are_answered(tmp_path: Path, workers: int) -> None:
    (tmp_path / "models").mkdir()
    port = free_port()
    with commanded(tmp_path / "models", tmp_path / "log", workers, EMO_GRPC_PORT=str(port)) as command:
        clients = [Client(port) for _ in range(6)]
        for client in clients:
            client.start()
        eventually(lambda: all(client.answers > 5 for client in clients), 120)
        assert command.stop() == 0
        for client in clients:
            client.join(30)
    # The last call of each is refused as a whole, never cut off in the middle.
    for client in clients:
        (error,) = client.lost
        assert error.code() == grpc.StatusCode.UNAVAILABLE, error
    logged = command.log.read_text(encoding="utf-8")
    assert '"status":499' not in logged
    assert logged.count('"status":200') >= sum(client.answers for client in clients)


def test_where_it_is_off_its_packages_are_not_imported() -> None:
    program = (
        "import sys, emo_serve.__main__, emo_serve.process.server, emo_serve.process.worker\n"
        "assert not {'grpc', 'google.protobuf'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_without_its_packages_the_server_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    settings_for(tmp_path / "models")
    (tmp_path / "grpc.py").write_text("raise ModuleNotFoundError(name='grpc')\n", encoding="utf-8")
    arguments = ("serve", "--workers", "1", "--port", "0", "--no-tune", "--models", str(tmp_path / "models"))
    with emo_serve(*arguments, EMO_GRPC_PORT="0", PYTHONPATH=str(tmp_path)) as process:
        _, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "pip install 'emo-serve[grpc]'" in errors
