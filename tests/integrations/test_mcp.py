import os
import sys
from pathlib import Path

import anyio
from emo_client import AsyncClient
from emo_client.mcp_server import mcp_server
from mcp import Client as McpClient
from mcp import StdioServerParameters
from mcp.client.stdio import stdio_client


def test_an_assistant_asks_about_pictures_below_its_folder_only(url: str, photo: Path) -> None:
    async def ask() -> None:
        async with AsyncClient(url) as client, McpClient(mcp_server(client, photo.parent)) as assistant:
            answer = await assistant.call_tool("detect", {"picture": photo.name})
            assert answer.structured_content["detections"]
            outside = await assistant.call_tool("classify", {"picture": "../../README.md"})
            assert outside.is_error
            assert "only files in" in outside.content[0].text

    anyio.run(ask)


def test_an_assistant_is_told_what_is_wrong_and_what_is_allowed(url: str, photo: Path) -> None:
    async def ask() -> None:
        async with AsyncClient(url) as client, McpClient(mcp_server(client, photo.parent)) as assistant:
            wrong = await assistant.call_tool("classify", {"picture": photo.name, "top_k": 0})
            assert wrong.is_error
            assert "allowed is an integer from 1 to 1000" in wrong.content[0].text
            missing = await assistant.call_tool("classify", {"picture": "nothing.jpg"})
            assert missing.is_error
            assert "nothing.jpg" in missing.content[0].text

    anyio.run(ask)


def test_what_might_never_end_is_not_read_for_an_assistant(url: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "device.jpg").symlink_to("/dev/zero")
    (tmp_path / "folder.jpg").mkdir()
    with (tmp_path / "huge.jpg").open("wb") as file:
        file.truncate(1 << 30)

    async def ask() -> None:
        async with AsyncClient(url) as client, McpClient(mcp_server(client, tmp_path)) as assistant:
            for picture in ("pipe.jpg", "device.jpg", "folder.jpg", "huge.jpg", "\0", "http://127.0.0.1:1/photo.jpg"):
                answer = await assistant.call_tool("classify", {"picture": picture})
                assert answer.is_error
                assert answer.content[0].text

    anyio.run(ask)


def test_an_assistant_starts_it_as_a_process(url: str, photo: Path) -> None:
    program = "import pathlib, sys; from emo_client.mcp_server import run; run(sys.argv[1], pathlib.Path(sys.argv[2]))"
    command = StdioServerParameters(command=sys.executable, args=["-c", program, url, str(photo.parent)])

    async def ask() -> None:
        async with McpClient(stdio_client(command)) as assistant:
            tools = await assistant.list_tools()
            assert {tool.name for tool in tools.tools} == {"classify", "detect", "list_models"}
            models = await assistant.call_tool("list_models", {})
            assert {model["task"] for model in models.structured_content["result"]} == {"classify", "detect"}

    anyio.run(ask)
