"""An MCP server whose tools ask emo-serve: for assistants that are to look at pictures."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError

from emo_client.async_client import AsyncClient
from emo_client.errors import EmoError
from emo_client.images import address_of
from emo_client.reading import MOST_BYTES
from emo_client.results import Classification, Detections, ModelInfo

_INSTRUCTIONS = """Classifies pictures and finds objects in them. A picture is an http(s) address, or the path of a \
file in {root} or below. Coordinates are pixels of the upright picture."""


def mcp_server(client: AsyncClient, root: Path) -> MCPServer:
    """The tools ``classify``, ``detect`` and ``list_models``; of local files they read those below ``root``."""
    root = root.resolve()  # an assistant does not know where this process runs
    server = MCPServer("emo-serve", instructions=_INSTRUCTIONS.format(root=root))

    async def classify(picture: str, top_k: int = 5, model: str | None = None) -> Classification:
        """Say what a picture shows: the best classes with scores from 0 to 1, and broad groups of them."""
        with _faults_told():
            return await client.classify(_allowed(picture, root), top_k=top_k, model=model)

    async def detect(
        picture: str, score_threshold: float | None = None, classes: list[str] | None = None, model: str | None = None
    ) -> Detections:
        """Find objects in a picture: names, scores, and boxes as left, top, right, bottom."""
        with _faults_told():
            return await client.detect(
                _allowed(picture, root), score_threshold=score_threshold, classes=classes, model=model
            )

    async def list_models() -> list[ModelInfo]:
        """List the models that can be asked: their tasks, how many classes they know, how good they are."""
        with _faults_told():
            return await client.models()

    for tool in (classify, detect, list_models):
        server.add_tool(tool)
    return server


@contextmanager
def _faults_told() -> Iterator[None]:
    """The assistant gets to know what is wrong with its picture or parameters, instead of "an error"."""
    try:
        yield
    except (EmoError, OSError, ValueError) as error:
        raise ToolError(str(error)) from error


def _allowed(picture: str, root: Path) -> str | Path:
    """The address, or the file; raise ValueError for one outside ``root``."""
    if address_of(picture) is not None:
        return picture
    path = (root / picture).resolve()
    if not path.is_relative_to(root):
        msg = f"{picture}: only files in {root} and below may be read"
        raise ValueError(msg)
    if not path.is_file():  # a pipe or a device might never end
        msg = f"{picture}: there is no such file"
        raise ValueError(msg)
    if path.stat().st_size > MOST_BYTES:
        msg = f"{picture}: has more than {MOST_BYTES} bytes"
        raise ValueError(msg)
    return path


def run(url: str, root: Path) -> None:
    """Serve one assistant on standard input and output until it leaves."""
    mcp_server(AsyncClient(url), root).run("stdio")
