import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from emo_serve.errors import StartupError
from emo_serve.main import create_app
from tests.serving import in_process, settings_for
from tests.support import write_classifier, write_detector


def run_python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", textwrap.dedent(code), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_the_server_imports_where_torch_cannot_be_imported() -> None:
    done = run_python("""
        import sys
        for name in ("torch", "torchvision", "timm", "onnx", "emo"):
            sys.modules[name] = None
        import emo_serve.main, emo_serve.__main__
    """)
    assert done.returncode == 0, done.stderr


@pytest.mark.anyio
async def test_a_repository_without_a_servable_model_does_not_start_and_says_why(tmp_path: Path) -> None:
    write_detector(tmp_path, golden_shift=1.0)
    app = create_app(settings_for(tmp_path))
    with pytest.raises(StartupError, match=r"no model can be served(.|\n)*toy-detector"):
        async with app.router.lifespan_context(app):
            pass


@pytest.mark.anyio
@pytest.mark.parametrize("folder", ["empty", "missing"])
async def test_an_empty_or_missing_repository_does_not_start(tmp_path: Path, folder: str) -> None:
    (tmp_path / "empty").mkdir()
    write_classifier(tmp_path / "other")
    settings = settings_for(tmp_path).model_copy(update={"models": tmp_path / folder})
    app = create_app(settings)
    with pytest.raises(StartupError, match=folder):
        async with app.router.lifespan_context(app):
            pass


@pytest.mark.anyio
async def test_a_broken_model_never_hides_a_good_one(tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    write_classifier(tmp_path, "wrong", golden_shift=1.0)
    async with in_process(settings) as (client, _):
        assert (await client.get("/readyz")).status_code == 200


def test_a_dead_batcher_fails_livez_and_stops_the_process(tmp_path: Path) -> None:
    write_classifier(tmp_path)
    done = run_python(
        """
        import asyncio, pathlib, signal, sys
        import httpx
        from emo_serve.main import create_app
        from emo_serve.settings import Settings

        async def main():
            told = asyncio.Event()
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
            app = create_app(Settings(models=pathlib.Path(sys.argv[1])))
            async with app.router.lifespan_context(app):
                async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://server") as client:
                    before = [(await client.get(path)).status_code for path in ("/livez", "/readyz")]
                    (task,) = [task for task in asyncio.all_tasks() if task.get_name() == "batcher toy-classifier"]
                    task.cancel()
                    async with asyncio.timeout(10):
                        await told.wait()
                    after = [(await client.get(path)).status_code for path in ("/livez", "/readyz")]
            print(before, after)

        asyncio.run(main())
        """,
        str(tmp_path),
    )
    assert done.stdout == "[200, 200] [503, 503]\n", done.stderr
