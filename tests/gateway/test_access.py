"""Who may read, and what every answer says of itself."""

import socket
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from walrus import Database

from pipeline.gateway.address import address_of, check_access
from pipeline.settings import Settings, SettingsError, load_settings
from tests.gateway.conftest import Served, free_port, serving

TOKEN = "0123456789abcdef-of-a-test"  # noqa: S105 - of a test


def error(answer: httpx.Response) -> str:
    """The one line of a refusal."""
    told: dict[str, str] = answer.json()
    assert set(told) == {"error"}
    assert "\n" not in told["error"]
    return told["error"]


def test_beyond_loopback_it_does_not_start_without_a_token(make_settings: Callable[..., Settings]) -> None:
    for host in ("127.0.0.1", "127.9.9.9", "::1", "localhost"):
        check_access(make_settings(host=host))
    for host in ("0.0.0.0", "::", "10.0.0.7", "desk.example"):  # noqa: S104 - refused
        with pytest.raises(SettingsError, match="MASSIVE_GATEWAY_TOKEN: needed where MASSIVE_HOST is beyond loopback"):
            check_access(make_settings(host=host))
        check_access(make_settings(host=host, gateway_token=TOKEN))
    assert address_of(make_settings(host="::1"), 8400) == "http://[::1]:8400"


def test_a_taken_port_and_a_missing_certificate_are_told_in_one_line(
    database: Database, make_settings: Callable[..., Settings], redis_url: str, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = make_settings(redis_url=redis_url, gateway_port=taken.getsockname()[1])
        with pytest.raises(AssertionError, match=r"cannot listen on 127\.0\.0\.1"), serving(settings, database):
            pass
    with pytest.raises(SettingsError, match="TLS_KEY: needed with the other one"):
        check_access(make_settings(gateway_tls_cert=tmp_path / "cert.pem"))
    with pytest.raises(SettingsError, match="TLS_CERT: there is no file"):
        check_access(make_settings(gateway_tls_cert=tmp_path / "cert.pem", gateway_tls_key=tmp_path / "key.pem"))


def test_a_token_is_asked_for_and_a_login_gives_a_cookie(serve: Callable[..., Served]) -> None:
    served = serve(gateway_token=TOKEN)
    with httpx.Client(base_url=served.url) as stranger:
        for path in ("/sse", "/api/symbols", "/api/models/heatmap/SPX", "/metrics", "/dashboard/index.html", "/no"):
            answer = stranger.get(path)
            assert answer.status_code == 401
            assert "token" in error(answer)
            assert answer.headers["www-authenticate"] == "Bearer"
        for path in ("/healthz", "/readyz"):
            assert stranger.get(path).status_code in (200, 503)
        assert stranger.get("/").headers["location"] == "/login"
        assert 'name="token"' in stranger.get("/login").text

        assert stranger.get("/api/symbols", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200
        assert stranger.get("/api/symbols", headers={"authorization": f"Basic {TOKEN}"}).status_code == 401
        assert stranger.get("/api/symbols", headers={"cookie": "marketswarm=dashboard.aa.bb"}).status_code == 401
        wrong = stranger.post("/login", data={"token": "no" * 10})
        assert wrong.status_code == 401
        assert "set-cookie" not in wrong.headers
        foreign = stranger.post("/login", data={"token": TOKEN}, headers={"origin": "https://evil.example"})
        assert foreign.status_code == 403

        answer = stranger.post("/login", data={"token": TOKEN}, headers={"origin": served.url})
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert TOKEN not in cookie
        assert stranger.get("/api/symbols").status_code == 200
        assert stranger.get("/").status_code == 200
        assert stranger.post("/logout").headers["location"] == "/login"
        assert stranger.get("/api/symbols").status_code == 401


def test_tokens_cannot_be_tried_out(serve: Callable[..., Served]) -> None:
    served = serve(gateway_token=TOKEN)
    with httpx.Client(base_url=served.url) as stranger:
        for number in range(10):
            assert stranger.post("/login", data={"token": f"{number}" * 20}).status_code == 401
        assert stranger.post("/login", data={"token": TOKEN}).status_code == 429
        assert stranger.get("/api/symbols", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 401


def test_what_is_open_is_open_to_names_of_loopback_alone(served: Served) -> None:
    port = served.settings.gateway_port
    for host in (f"127.0.0.1:{port}", f"localhost:{port}", f"[::1]:{port}", "localhost"):
        assert httpx.get(f"{served.url}/api/symbols", headers={"host": host}).status_code == 200
    for host in ("evil.example", f"evil.example:{port}", "127.0.0.1.evil.example", "[oops", ""):
        answer = httpx.get(f"{served.url}/api/symbols", headers={"host": host})
        assert answer.status_code == 403
        assert "loopback" in error(answer)


def test_every_answer_is_guarded_and_other_sites_read_only_where_they_are_listed(serve: Callable[..., Served]) -> None:
    served = serve()
    desk, evil = {"origin": "https://desk.example"}, {"origin": "https://evil.example"}
    for path in ("/", "/api/symbols", "/api/models/none/SPX", "/login"):
        answer = httpx.get(f"{served.url}{path}", headers=desk)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in answer.headers
        assert "server" not in answer.headers
    listed = serve(gateway_origins=("https://desk.example",))
    allowed = httpx.get(f"{listed.url}/api/symbols", headers=desk)
    assert allowed.headers["access-control-allow-origin"] == "https://desk.example"
    assert "access-control-allow-origin" not in httpx.get(f"{listed.url}/api/symbols", headers=evil).headers


def test_an_address_has_only_so_many_streams(serve: Callable[..., Served]) -> None:
    served = serve(gateway_clients_per_address=2)
    with httpx.Client(base_url=served.url) as client, client.stream("GET", "/sse"), client.stream("GET", "/sse"):
        refused = client.get("/sse")
        assert refused.status_code == 429
        assert "2 streams" in error(refused)
        assert refused.headers["retry-after"] == "10"


def test_it_speaks_https_with_a_certificate(
    database: Database, make_settings: Callable[..., Settings], redis_url: str, tmp_path: Path
) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key,
         "-out", cert, "-days", "1", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"],
        check=True, capture_output=True,
    )
    settings = make_settings(
        redis_url=redis_url, gateway_port=free_port(), gateway_tls_cert=cert, gateway_tls_key=key, gateway_token=TOKEN
    )
    with serving(settings, database):
        url = address_of(settings, settings.gateway_port).replace("127.0.0.1", "localhost")
        with httpx.Client(base_url=url, verify=ssl.create_default_context(cafile=str(cert))) as client:
            assert client.get("/healthz").text == "alive\n"
            assert "secure" in client.post("/login", data={"token": TOKEN}).headers["set-cookie"].lower()
            with client.stream("GET", "/sse", headers={"authorization": f"Bearer {TOKEN}"}) as stream:
                assert next(stream.iter_lines()) == "retry: 1000"


@pytest.mark.parametrize(("name", "value"), [
    ("gateway_token", "short"), ("gateway_origins", "desk.example"), ("gateway_origins", "https://desk.example/page"),
    ("gateway_clients_per_address", 0),
])
def test_settings_that_cannot_be_are_refused_without_their_secrets(name: str, value: Any) -> None:
    with pytest.raises(SettingsError, match=f"MASSIVE_{name.upper()}: ") as caught:
        load_settings(**{name: value})
    assert "short" not in str(caught.value)
