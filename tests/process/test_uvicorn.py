"""The internals of uvicorn and httptools that the HTTP protocol relies on; pyproject.toml caps uvicorn for it."""

import asyncio
import inspect

import httptools
import pytest
import uvicorn
from uvicorn.protocols.http import flow_control, httptools_impl
from uvicorn.server import ServerState

from tests.process.test_bodies import Application

CONNECTION = {
    *("client", "cycle", "expect_100_continue", "flow", "headers", "loop", "parser", "scope"),
    *("timeout_keep_alive", "timeout_keep_alive_task", "transport"),
}
METHODS = {
    *("connection_made", "connection_lost", "data_received", "eof_received", "pause_writing", "shutdown"),
    *("on_message_begin", "on_url", "on_header", "on_headers_complete", "on_body", "on_message_complete"),
    *("on_response_complete", "timeout_keep_alive_handler", "_unset_keepalive_if_required"),
}
REQUEST = {"body", "more_body", "keep_alive", "response_started", "response_complete", "message_event", "disconnected"}


def test_a_connection_of_uvicorn_has_what_is_relied_on() -> None:
    config = uvicorn.Config(Application(), ws="none", lifespan="off", log_config=None)

    async def made() -> httptools_impl.HttpToolsProtocol:
        return httptools_impl.HttpToolsProtocol(config, ServerState(), {})

    protocol = asyncio.run(made())
    assert vars(protocol).keys() >= CONNECTION
    assert not METHODS - set(dir(protocol))
    parameters = list(inspect.signature(httptools_impl.HttpToolsProtocol).parameters)
    assert parameters == ["config", "server_state", "app_state", "_loop"]


def test_a_request_of_uvicorn_has_what_is_relied_on() -> None:
    source = inspect.getsource(httptools_impl.RequestResponseCycle.__init__)
    assert not [name for name in REQUEST if f"self.{name}" not in source]
    assert {"pause_reading", "resume_reading", "pause_writing", "resume_writing"} <= set(dir(flow_control.FlowControl))


class Parsed:
    """Events of a parser."""

    def __init__(self) -> None:
        self.told: list[object] = []

    def on_headers_complete(self) -> None:
        self.told.append("head")

    def on_body(self, body: bytes) -> None:
        self.told.append(body)

    def on_message_complete(self) -> None:
        self.told.append("end")


def test_the_parser_takes_the_body_of_an_offered_upgrade_for_another_protocol_and_says_where_it_begins() -> None:
    parsed = Parsed()
    parser = httptools.HttpRequestParser(parsed)
    head = b"POST / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 4\r\n\r\n"
    with pytest.raises(httptools.HttpParserUpgrade) as caught:
        parser.feed_data(head + b"body")
    assert caught.value.args == (len(head),)
    assert parsed.told == ["head", "end"]
    assert parser.should_upgrade()


def test_the_parser_takes_a_part_of_what_it_is_shown_without_a_copy() -> None:
    parsed = Parsed()
    httptools.HttpRequestParser(parsed).feed_data(b"POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\nbody")
    assert parsed.told == ["head", b"body", "end"]


@pytest.mark.parametrize("ending", [b"\n\n", b"\r\n\n", b"\n\r\n"])
def test_nothing_but_an_empty_line_ends_a_head_or_a_chunked_body(ending: bytes) -> None:
    parsed = Parsed()
    with pytest.raises(httptools.HttpParserError):
        httptools.HttpRequestParser(parsed).feed_data(b"GET / HTTP/1.1\r\nHost: x" + ending)
    assert not parsed.told
    head = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    with pytest.raises(httptools.HttpParserError):
        httptools.HttpRequestParser(parsed).feed_data(head + b"1\r\nx\r\n0" + ending)
    assert "end" not in parsed.told


def test_what_a_callback_raises_is_the_context_of_what_the_parser_raises() -> None:
    class Refuses:
        def on_headers_complete(self) -> None:
            raise LookupError

    with pytest.raises(httptools.HttpParserCallbackError) as caught:
        httptools.HttpRequestParser(Refuses()).feed_data(b"GET / HTTP/1.1\r\n\r\n")
    assert isinstance(caught.value.__context__, LookupError)
