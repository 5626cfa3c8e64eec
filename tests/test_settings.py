"""Settings: what is allowed, that a bad one is told in one line, and that no secret is ever shown."""

import pytest

from pipeline.settings import DEFAULT_WIDTHS, SettingsError, load_settings


def test_the_defaults_are_usable() -> None:
    settings = load_settings()
    assert settings.symbols == ("SPX", "NDX")
    assert settings.redis_url.get_secret_value() == ""
    assert settings.widths_of("SPX") == DEFAULT_WIDTHS["SPX"]
    assert settings.widths_of("XYZ") == DEFAULT_WIDTHS["*"]
    assert settings.endpoint_file == settings.data_dir / "running.json"


@pytest.mark.parametrize(
    ("name", "text", "attribute", "value"),
    [
        ("MASSIVE_SYMBOLS", " spx, ndx ,SPX", "symbols", ("SPX", "NDX")),
        ("MASSIVE_WIDTHS", "SPX=5,5,2", "widths", {**DEFAULT_WIDTHS, "SPX": (2.0, 5.0)}),
        ("MASSIVE_REST_URL", "http://127.0.0.1:1/", "rest_url", "http://127.0.0.1:1"),
        ("PORT", "8000", "port", 8000),
        ("MASSIVE_BATCH_MAX", "", "batch_max", 256),
    ],
)
def test_the_environment_is_read(
    monkeypatch: pytest.MonkeyPatch, name: str, text: str, attribute: str, value: object
) -> None:
    monkeypatch.setenv(name, text)
    assert getattr(load_settings(), attribute) == value


BAD = [
    ("MASSIVE_SYMBOLS", ","), ("MASSIVE_SYMBOLS", "SP-X"), ("MASSIVE_SYMBOLS", "ABCDEFGHIJK"),
    ("MASSIVE_WIDTHS", "SPX"), ("MASSIVE_WIDTHS", "SPX=a"), ("MASSIVE_WIDTHS", "SPX=0"),
    ("MASSIVE_REST_URL", "api.massive.com"), ("MASSIVE_REST_URL", "https://user:pw@api.massive.com"),
    ("MASSIVE_WS_URL", "wss://socket.massive.com?apiKey=1"), ("MASSIVE_NAMESPACE", "replay"),
    ("MASSIVE_NAMESPACE", "{a}:"), ("MASSIVE_BLOCK_MS", "5000"), ("MASSIVE_BATCH_MAX", "many"), ("PORT", "70000"),
    ("MASSIVE_LAYOUT", "round"), ("MASSIVE_SCOPE", "all"), ("MASSIVE_RATE", "nan"), ("MASSIVE_DRAIN_S", "0"),
]


@pytest.mark.parametrize(("name", "text"), BAD)
def test_a_bad_setting_is_one_line_that_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, text: str
) -> None:
    monkeypatch.setenv(name, text)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert str(caught.value).startswith(f"{name}: ")
    assert "\n" not in str(caught.value)


def test_a_user_without_a_home_has_a_data_directory_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """As services run: a relative home is none."""
    monkeypatch.setenv("HOME", "nowhere")
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    assert load_settings().data_dir.is_absolute()


def test_an_override_is_checked_like_the_environment() -> None:
    with pytest.raises(SettingsError, match="MASSIVE_SYMBOLS"):
        load_settings(symbols="")


@pytest.mark.parametrize("name", ["MASSIVE_API_KEY", "REDIS_URL"])
def test_a_secret_is_not_in_the_text_of_the_settings(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "redis://:hunter2@localhost/0")
    settings = load_settings()
    assert "hunter2" not in repr(settings) + str(settings) + settings.model_dump_json()


def test_settings_cannot_be_changed_once_read() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_settings().symbols = ("X",)  # type: ignore[misc]
