import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from emo_serve.environment import service_links, unknown_names
from emo_serve.settings import PREFIX, Settings, all_settings


def test_the_environment_sets_plain_and_nested_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMO_PORT", "9000")
    monkeypatch.setenv("EMO_MODELS", "/srv/models")
    monkeypatch.setenv("EMO_BATCHING__MAX_BATCH_SIZE", "8")
    monkeypatch.setenv("EMO_SESSION__INTRA_OP_THREADS", "3")
    settings = Settings()
    assert (settings.port, settings.models) == (9000, Path("/srv/models"))
    assert settings.batching.max_batch_size == 8
    assert settings.batching.max_queue_delay_seconds == 0
    assert settings.session.intra_op_threads == 3


def test_words_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMO_CORS_ORIGINS", "https://a.example, http://localhost:3000,capacitor://localhost,")
    monkeypatch.setenv("EMO_TRUSTED_PROXIES", "10.0.0.0/8,::1")
    settings = Settings()
    assert settings.cors_origins == ("https://a.example", "http://localhost:3000", "capacitor://localhost")
    assert settings.trusted_proxies == ("10.0.0.0/8", "::1")
    assert Settings(**settings.model_dump(mode="json")) == settings  # as a worker is told


def test_what_is_given_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMO_PORT", "9000")
    assert Settings(port=9001).port == 9001


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("EMO_PROT", "EMO_PORT"),
        ("emo_modles", "EMO_MODELS"),
        ("EMO_BATCHING__MAX_BTCH_SIZE", "EMO_BATCHING__MAX_BATCH_SIZE"),
        ("EMO_BATCHING_MAX_BATCH_SIZE", "EMO_BATCHING__MAX_BATCH_SIZE"),
        ("EMO_BATCHING__INSTANCES__MORE", "EMO_BATCHING__INSTANCES"),
    ],
)
def test_a_mistyped_variable_is_an_error_that_names_the_nearest(
    monkeypatch: pytest.MonkeyPatch, name: str, nearest: str
) -> None:
    monkeypatch.setenv(name, "1")
    with pytest.raises(ValidationError, match=f"{name} is no setting; did you mean {nearest}\\?"):
        Settings()


def test_other_programs_variables_are_left_alone() -> None:
    assert not list(unknown_names({"PATH": "", "EMOTION": "joy", "DEMO_X": "", "EMO_PORT": ""}, PREFIX, {"EMO_PORT"}))


LINKS = {
    "EMO_SERVE_SERVICE_HOST": "10.0.0.1",
    "EMO_SERVE_SERVICE_PORT": "80",
    "EMO_SERVE_SERVICE_PORT_HTTP": "80",
    "EMO_SERVE_PORT": "tcp://10.0.0.1:80",
    "EMO_SERVE_PORT_80_TCP": "tcp://10.0.0.1:80",
    "EMO_SERVE_PORT_80_TCP_ADDR": "10.0.0.1",
    "EMO_SERVE_PORT_80_TCP_PORT": "80",
    "EMO_SERVE_PORT_80_TCP_PROTO": "tcp",
    "EMO_DNS_PORT_53_UDP": "udp://10.0.0.1:53",
    # of Services that are called emo and emo-admin
    "EMO_SERVICE_HOST": "10.0.0.1",
    "EMO_SERVICE_PORT": "80",
    "EMO_PORT": "tcp://10.0.0.1:80",
    "EMO_PORT_80_TCP_ADDR": "10.0.0.1",
    "EMO_ADMIN_PORT": "tcp://10.0.0.1:80",
}


def test_what_kubernetes_sets_for_services_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in LINKS.items():
        monkeypatch.setenv(name, value)
    settings = Settings(drain_seconds=1)
    assert (settings.port, settings.admin_port, settings.drain_seconds) == (8000, None, 1)
    assert Settings(port=9000).port == 9000
    assert service_links(os.environ, PREFIX) == sorted(LINKS)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("EMO_SERVE_PORT", "8000"),
        ("EMO_ADMN_PORT", "8001"),
        ("EMO_SERVICE_HOSTS", "a"),
        ("EMO_SERVE_PORT_TCP", "80"),
        ("EMO_SERVE_PORT_80_HTTP", "80"),
    ],
)
def test_what_kubernetes_would_not_set_is_a_mistyped_setting(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError, match=f"{name} is no setting"):
        Settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("EMO_PORT", "70000"),
        ("EMO_PORT", "http://10.0.0.1:8000"),
        ("EMO_HOST", ""),
        ("EMO_CORS_ORIGINS", "photos.example"),
        ("EMO_CORS_ORIGINS", "https://photos.example/"),
        ("EMO_ROOT_PATH", "vision"),
        ("EMO_ROOT_PATH", "/vision/"),
        ("EMO_ROOT_PATH", "/"),
        ("EMO_TRUSTED_PROXIES", "proxy"),
        ("EMO_TRUSTED_PROXIES", "10.0.0.0/40"),
        ("EMO_LOG_FORMAT", "xml"),
        ("EMO_LOG_LEVEL", "chatty"),
        ("EMO_DECODE_THREADS", "0"),
        ("EMO_REQUEST_TIMEOUT_SECONDS", "0"),
        ("EMO_BATCHING__MAX_BATCH_SIZE", "0"),
        ("EMO_BATCHING__MAX_QUEUE_DELAY_SECONDS", "-1"),
    ],
)
def test_a_value_outside_its_range_is_an_error(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError):
        Settings()


def test_a_budget_that_the_largest_body_can_never_fit_into_is_an_error() -> None:
    with pytest.raises(ValidationError, match=r"EMO_MAX_INFLIGHT_BYTES \(9\) must be at least EMO_MAX_REQUEST_BYTES"):
        Settings(max_request_bytes=10, max_inflight_bytes=9)


def test_settings_are_frozen() -> None:
    settings = Settings()
    with pytest.raises(ValidationError):
        settings.port = 1  # type: ignore[misc]
    with pytest.raises(ValidationError):
        settings.batching.max_batch_size = 1  # type: ignore[misc]


def test_every_setting_is_described() -> None:
    described = {variable: field.description for variable, field in all_settings()}
    assert "EMO_BATCHING__MAX_QUEUE_DELAY_SECONDS" in described
    assert all(described.values())


def test_a_platform_says_the_port_where_nothing_else_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "8080")
    assert Settings().port == 8080
    monkeypatch.setenv("EMO_PORT", "9000")
    assert (Settings().port, Settings(port=9001).port) == (9000, 9001)
    monkeypatch.setenv("EMO_PORT", "tcp://10.0.0.1:80")
    assert Settings().port == 8080
    monkeypatch.setenv("PORT", "")
    assert Settings().port == 8000


@pytest.mark.parametrize("port", ["http", "-1", "65536", "8080x", "1" * 30])
def test_a_port_of_a_platform_that_is_none_is_named(monkeypatch: pytest.MonkeyPatch, port: str) -> None:
    monkeypatch.setenv("PORT", port)
    with pytest.raises(ValidationError, match="PORT = "):
        Settings()
