"""What was recorded of the real provider is read by the code that reads the provider, without an error."""

from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from pipeline.provider.chain import Scope, fetch_chain
from pipeline.provider.errors import BusyError, FaultyError, ProviderError, RefusedError
from pipeline.provider.frames import acked_topic, read_frame, read_value, root_of
from pipeline.provider.market import index_values, market_now
from pipeline.provider.rest import Rest
from tests.provider.recorded import Answer, answering, recorded

MakeRest = Callable[..., Rest]
MOCKS = "official_rest_mocks"


def quiet(_: ProviderError) -> None: ...


@pytest.mark.parametrize(
    ("name", "expirations"),
    [
        (f"{MOCKS}/v3/snapshot/options/AAPL.json", 1),
        ("kb_index_chain_I_SPX.json", 1),
        ("real_spy_chain_2024-05-30_excerpt.json", 1),
    ],
)
def test_recorded_chains(shared_data: Path, make_rest: MakeRest, name: str, expirations: int) -> None:
    body = recorded(shared_data, name)
    page = orjson.loads(body)
    page.pop("next_url", None)
    with answering({"/v3/snapshot/options/X": Answer(orjson.dumps(page))}) as url:
        chain = fetch_chain(make_rest(url), "X", Scope(), quiet, 10)
    assert chain.contracts == len(page["results"])
    assert len(chain.rows) == expirations
    assert not chain.bad
    assert chain.spot is not None
    rows = [row for expiration in chain.rows for row in orjson.loads(chain.snapshot(expiration))]
    assert rows == page["results"]  # as received


def test_recorded_market_status(shared_data: Path, make_rest: MakeRest) -> None:
    body = recorded(shared_data, f"{MOCKS}/v1/marketstatus/now.json")
    with answering({"/v1/marketstatus/now": Answer(body)}) as url:
        moment = market_now(make_rest(url), quiet)
    assert moment.ts == 1_651_178_888_000
    assert moment.market == "extended-hours"


def test_recorded_index_values(shared_data: Path, make_rest: MakeRest) -> None:
    """The official mock tells no time, so its value cannot be placed; its two error rows are no values either."""
    body = recorded(shared_data, f"{MOCKS}/v3/snapshot/indices&ticker.any_of=SPX%2CAPx%2CAPy.json")
    timed = orjson.loads(body)
    timed["results"][0]["last_updated"] = 1_678_220_098_130_986_543
    for answer, count in ((body, 0), (orjson.dumps(timed), 1)):
        with answering({"/v3/snapshot/indices": Answer(answer)}) as url:
            values = index_values(make_rest(url), ["SPX", "APx", "APy"], quiet)
        assert len(values) == count
    assert (values[0].price, values[0].ts) == (3822.39, 1_678_220_098_130)


def test_recorded_errors(shared_data: Path, make_rest: MakeRest) -> None:
    for error in orjson.loads(recorded(shared_data, "rest_errors.json")):
        status = error.get("http")
        if not isinstance(status, int) or status == 200:
            continue
        body = orjson.dumps(error["body"]) if isinstance(error.get("body"), dict) else error.get("text", "").encode()
        with answering({"/v1/marketstatus/now": Answer(body, status)}) as url, pytest.raises(ProviderError) as raised:
            market_now(make_rest(url), quiet)
        kind = {401: RefusedError, 403: RefusedError, 404: RefusedError, 429: BusyError}.get(status, FaultyError)
        assert isinstance(raised.value, kind), error
        assert str(status) in str(raised.value)


def test_recorded_frames(shared_data: Path) -> None:
    lines = recorded(shared_data, "ws_frames.jsonl").splitlines()
    frames = [orjson.loads(line)["frame"] for line in lines if orjson.loads(line)["dir"] == "s2c"]
    assert frames
    acks, roots, values = set(), set(), []
    for frame in frames:
        read = read_frame(orjson.dumps(frame))
        assert read.readable
        assert len(read.statuses) + len(read.events) == len(frame)
        acks |= {acked_topic(status) for status in read.statuses}
        roots |= {root_of(event) for event in read.events}
        values += [value for event in read.events if (value := read_value(event))]
    assert acks == {None, "T.AAPL", "A.AAPL"}
    assert {"AMC", "SPXW", "SPY", "TSLA", "ONEM"} <= roots
    assert [(value.ticker, value.price, value.ts) for value in values] == [("I:SPX", 3988.5, 1_678_220_098_130)]
