"""What deploy/systemd says about the server agrees with the server, and with systemd where that is installed."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from emo_serve.process.exit_codes import EXIT_USAGE
from emo_serve.settings import Settings, all_settings

ROOT = Path(__file__).parent.parent
UNIT = ROOT / "deploy" / "systemd" / "emo-serve.service"
ANALYZE = shutil.which("systemd-analyze")
needs_systemd = pytest.mark.skipif(not ANALYZE, reason="NOT VERIFIED: there is no systemd-analyze on PATH")


def directives() -> dict[str, list[str]]:
    """All values of each directive."""
    found: dict[str, list[str]] = {}
    for name, value in re.findall(r"^(\w+)=(.*)$", UNIT.read_text(encoding="utf-8"), flags=re.MULTILINE):
        found.setdefault(name, []).append(value)
    return found


def test_the_server_has_the_time_that_it_may_take_to_stop() -> None:
    (seconds,) = directives()["TimeoutStopSec"]
    settings = Settings()
    assert settings.drain_delay_seconds + 2 * settings.drain_seconds <= float(seconds)


def test_the_unit_names_settings_that_exist() -> None:
    named = set(re.findall(r"\bEMO_[A-Z_]+", UNIT.read_text(encoding="utf-8")))
    assert named <= {variable for variable, _ in all_settings()}


def test_a_worker_that_is_killed_does_not_stop_the_others() -> None:
    found = directives()
    assert found["OOMPolicy"] == ["continue"]
    assert found["KillMode"] == ["mixed"]


def test_only_settings_that_are_wrong_are_not_tried_again() -> None:
    assert directives()["RestartPreventExitStatus"] == [str(EXIT_USAGE)]


def test_a_start_that_fails_again_and_again_is_given_up() -> None:
    found = directives()
    ((interval,), (burst,), (pause,)) = (
        found[name] for name in ("StartLimitIntervalSec", "StartLimitBurst", "RestartSec")
    )
    slowest = Settings().load_seconds  # a start that fails as late as one version may
    assert int(burst) * (float(pause) + slowest) < float(interval)


@needs_systemd
def test_systemd_finds_nothing_wrong(tmp_path: Path) -> None:
    assert ANALYZE
    command = shutil.which("true")
    assert command
    unit = tmp_path / UNIT.name
    text = UNIT.read_text(encoding="utf-8").replace("/opt/emo-serve/bin/emo-serve", command)  # has to be there
    unit.write_text(text, encoding="utf-8")
    done = subprocess.run([ANALYZE, "verify", str(unit)], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


@needs_systemd
def test_the_exposure_is_what_the_documentation_says() -> None:
    assert ANALYZE
    documented = re.search(r"exposure level ([\d.]+)", (ROOT / "docs" / "deployment.md").read_text(encoding="utf-8"))
    assert documented
    command = [ANALYZE, "security", "--offline=yes", f"--threshold={round(float(documented[1]) * 10)}", str(UNIT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout
