"""REST against the simulated provider: what can be retried is, what cannot is not, and the key stays secret."""

import logging
import threading
import time
import traceback
from collections.abc import Callable
from datetime import date

import pytest

from pipeline.provider import rest as rest_module
from pipeline.provider.chain import Chain, Scope, fetch_chain
from pipeline.provider.errors import (
    AstrayError,
    BusyError,
    FaultyError,
    ProviderError,
    RefusedError,
    StoppedError,
)
from pipeline.provider.market import market_now
from pipeline.provider.pace import RateLimiter
from pipeline.provider.rest import Rest
from pipeline.simulator import Simulator
from tests.provider.recorded import Answer, answering
from tests.saying import KEY, logged

MakeRest = Callable[..., Rest]
CHAIN = "/v3/snapshot/options/{underlying}"
NARROW = Scope((date(2026, 9, 9), date(2026, 9, 11)), (6500, 7100))


def fetch(rest: Rest, heard: list[ProviderError] | None = None, scope: Scope = NARROW) -> Chain:
    return fetch_chain(rest, "I:SPX", scope, (heard if heard is not None else []).append, most_s=30)


def test_a_chain_comes_whole_page_by_page(still: Simulator, make_rest: MakeRest) -> None:
    before = still.requests[CHAIN]
    chain = fetch(make_rest(still.url), scope=Scope())
    assert chain.contracts == len(still.market.row_of)
    assert still.requests[CHAIN] - before == chain.pages == -(-chain.contracts // 250)
    assert not chain.bad
    assert chain.spot is not None
    assert 6000 < chain.spot.price < 8000


def test_the_scope_is_asked_of_the_provider(still: Simulator, make_rest: MakeRest) -> None:
    assert set(fetch(make_rest(still.url)).rows) == {"2026-09-09", "2026-09-10", "2026-09-11"}


@pytest.mark.parametrize(
    "fault",
    ["429:0.05x2", "429-barex2", "429-emptyx1", "500x2", "502x2", "503-emptyx2", "half-page:0.5x2", "half-page:0x1",
     "malformed-pagex2", "nan-pagex1", "oversized-page:20x1", "slow-page:0.5x1"],
)
def test_what_passes_is_retried_and_the_chain_is_the_same(still: Simulator, make_rest: MakeRest, fault: str) -> None:
    whole = fetch(make_rest(still.url))
    still.inject(fault)
    heard: list[ProviderError] = []
    again = fetch(make_rest(still.url, timeout_s=0.4 if "slow" in fault else 5.0), heard)
    assert again.rows == whole.rows
    assert len(heard) == int(fault[-1])
    assert all(isinstance(error, BusyError if fault.startswith("429") else FaultyError) for error in heard)


@pytest.mark.parametrize("fault", ["500", "429-bare", "malformed-page", "half-page"])
def test_what_does_not_pass_fails_the_chain_after_some_attempts(
    still: Simulator, make_rest: MakeRest, fault: str
) -> None:
    still.inject(fault)
    before = still.requests[CHAIN]
    with pytest.raises((FaultyError, BusyError)):
        fetch(make_rest(still.url))
    assert still.requests[CHAIN] - before == rest_module.ATTEMPTS


@pytest.mark.parametrize(("fault", "status"), [("401", 401), ("403", 403), ("404", 404), ("404-route", 404)])
def test_a_refusal_is_not_retried(still: Simulator, make_rest: MakeRest, fault: str, status: int) -> None:
    still.inject(fault)
    before = still.requests[CHAIN]
    with pytest.raises(RefusedError) as refused:
        fetch(make_rest(still.url))
    assert refused.value.status == status
    assert still.requests[CHAIN] - before == 1
    assert "\n" not in str(refused.value)


def test_a_long_retry_after_is_not_sat_out(still: Simulator, make_rest: MakeRest) -> None:
    still.inject("429:3600")
    started = time.monotonic()
    with pytest.raises(BusyError) as busy:
        fetch(make_rest(still.url))
    assert busy.value.retry_after_s == 3600
    assert time.monotonic() - started < 2


def test_retry_after_is_honoured(still: Simulator, make_rest: MakeRest) -> None:
    still.inject("429:0.7x1")
    started = time.monotonic()
    fetch(make_rest(still.url))
    assert time.monotonic() - started >= 0.7


@pytest.mark.parametrize("value", ["", "soon", "nan", "-3", "Wed, 21 Oct 2015 07:28:00 GMT", "1e999"])
def test_any_retry_after_can_be_read(value: str) -> None:
    seconds = rest_module._retry_after_s(value)
    assert seconds is None or 0 <= seconds <= 86_400


def test_pages_that_go_round_are_refused(still: Simulator, make_rest: MakeRest) -> None:
    still.inject("cursor-loop")
    before = still.requests[CHAIN]
    with pytest.raises(AstrayError, match="circle"):
        fetch(make_rest(still.url))
    assert still.requests[CHAIN] - before <= 3


def test_a_foreign_next_url_is_refused_and_named(still: Simulator, make_rest: MakeRest) -> None:
    still.inject("foreign-next")
    with pytest.raises(AstrayError, match=r"elsewhere\.invalid") as astray:
        fetch(make_rest(still.url))
    assert KEY not in str(astray.value)


def test_a_foreign_host_never_sees_the_key(make_rest: MakeRest) -> None:
    """Another port is another origin; that host is there, and must not be asked at all."""
    with answering({"/next": Answer(b'{"results":[]}')}) as elsewhere:
        page = Answer(b'{"results":[],"next_url":"%s/next"}' % elsewhere.encode())
        with answering({"/pages": page}) as home:
            with pytest.raises(AstrayError, match="another host"):
                list(make_rest(home).pages("/pages", {}))
            redirect = Answer(b"", 302, headers={"Location": f"{elsewhere}/next"})
            with answering({"/v1/marketstatus/now": redirect}) as astray, pytest.raises(RefusedError):
                market_now(make_rest(astray), lambda _: None)


def test_pages_without_end_are_bounded(still: Simulator, make_rest: MakeRest) -> None:
    pages = make_rest(still.url).pages("/v3/snapshot/options/I:SPX", {"limit": "10"}, pages_most=3)
    with pytest.raises(AstrayError, match="more than 3 pages"):
        list(pages)


@pytest.mark.parametrize("body", [b"[]", b"null", b'"x"', b"{}", b'{"results":null}', b'{"results":{}}', b"\xff", b""])
def test_a_page_that_is_none_is_a_fault(make_rest: MakeRest, body: bytes) -> None:
    with answering({"/pages": Answer(body)}) as url, pytest.raises(FaultyError):
        list(make_rest(url).pages("/pages", {}))


def test_nobody_there_is_a_fault(make_rest: MakeRest) -> None:
    with answering({}) as url:
        pass
    with pytest.raises(FaultyError):
        fetch(make_rest(url))


def test_stopping_ends_a_wait_at_once(still: Simulator, make_rest: MakeRest) -> None:
    still.inject("429:10")
    stop = threading.Event()
    timer = threading.Timer(0.2, stop.set)
    timer.start()
    started = time.monotonic()
    with pytest.raises(StoppedError):
        fetch(make_rest(still.url, stop=stop))
    assert time.monotonic() - started < 3


def test_requests_are_spaced_and_held() -> None:
    now = [100.0]
    limiter = RateLimiter(10, lambda: now[0])
    assert [round(limiter.reserve(), 3) for _ in range(3)] == [0.0, 0.1, 0.2]
    now[0] = 200.0
    assert limiter.reserve() == 0.0
    limiter.hold(5)
    assert limiter.reserve() == pytest.approx(5)


@pytest.mark.parametrize(
    "fault", ["401", "403", "404-route", "429:99", "500", "half-page", "foreign-next", "cursor-loop", "nan-page"]
)
def test_the_key_is_in_no_message_and_no_log(
    still: Simulator, make_rest: MakeRest, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    caplog.set_level(logging.DEBUG)
    still.inject(fault)
    rest = make_rest(still.url)
    heard: list[ProviderError] = []
    with pytest.raises(ProviderError) as error:
        fetch(rest, heard)
    shown = "".join(traceback.format_exception(error.value)) + repr(heard) + repr(vars(rest)) + logged(caplog)
    assert KEY not in shown


def test_a_provider_that_repeats_the_key_is_not_quoted(make_rest: MakeRest) -> None:
    said = Answer(b'{"error":"Unknown API Key %s"}' % KEY.encode(), 401)
    with answering({"/v1/marketstatus/now": said}) as url, pytest.raises(RefusedError) as refused:
        market_now(make_rest(url), lambda _: None)
    assert "Unknown API Key" in str(refused.value)
    assert KEY not in str(refused.value)
