"""Triton's perf_analyzer, unmodified, asked as in docs/protocols.md; not locked, as it needs glibc 2.38."""

import shutil
import subprocess

import pytest

COMMAND = shutil.which("perf_analyzer")


@pytest.mark.skipif(COMMAND is None, reason="there is no perf_analyzer (pip install perf-analyzer; glibc 2.38)")
@pytest.mark.parametrize("model", ["emo-1m", "ssdlite-emo-1m"])
@pytest.mark.parametrize("options", [["-i", "http"], ["-i", "grpc"], ["-i", "grpc", "--streaming"], ["-b", "4"]])
def test_it_measures_without_an_error(url: str, grpc_address: str, model: str, options: list[str]) -> None:
    address = grpc_address if "grpc" in options else url.removeprefix("http://")
    command = [str(COMMAND), "-m", model, "-u", address, "--request-count", "8", "--concurrency-range", "2", *options]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "throughput" in ended.stdout
