"""Each socket fault as a client meets it."""

import json
import time

import pytest

from tests.simulator.listener import listening, messages
from tests.waiting import wait_until

TICKER = "O:SPXW260909C06800000"
QUOTE = {"ev": "Q", "sym": TICKER, "bx": 300, "ax": 300, "bp": 1.0, "ap": 1.1, "bs": 1, "as": 1, "t": 1, "q": 1}


def quotes(count: int) -> list[dict]:
    return [QUOTE | {"t": i, "q": i} for i in range(1, count + 1)]


@pytest.mark.parametrize(
    ("fault", "says"), [("auth-failed", "authentication failed"), ("auth-plan", "Your plan doesn't include websocket")]
)
def test_auth_fails_and_tcp_ends_without_a_close_frame(still, fault, says):
    still.inject(fault)
    with listening(still, log_in=False) as listener:
        answer = listener.log_in()[0]
        assert answer["status"] == "auth_failed"
        assert answer["message"].startswith(says)
        assert listener.ended() == 1006


def test_auth_is_met_with_silence_until_its_timeout(still):
    still.inject("auth-silent")
    still.inject("auth-timeout:0.1")
    with listening(still, log_in=False) as listener:
        assert listener.log_in()[0]["status"] == "auth_timeout"
        assert listener.ended() == 1006


def test_a_channel_outside_the_plan_is_refused(still):
    still.inject("not-authorized:T")
    with listening(still) as listener:
        assert messages(listener.subscribe(f"T.{TICKER}", f"Q.{TICKER}")) == ["not authorized"]
        assert messages(listener.frame()) == [f"subscribed to: Q.{TICKER}"]


def test_max_connections_closes_the_older_connection(still):
    still.inject("max-connections-old:1")
    with listening(still) as older, listening(still) as newcomer, listening(still, "indices") as elsewhere:
        assert older.frame()[0]["status"] == "max_connections"
        assert older.ended() == 1008
        assert len(newcomer.subscribe(f"Q.{TICKER}")) == 1
        assert len(elsewhere.subscribe("V.I:SPX")) == 1


def test_max_connections_closes_the_newcomer_after_auth_and_subscribe(still):
    still.inject("max-connections-new:1")
    with listening(still) as older, listening(still) as newcomer:
        assert len(newcomer.subscribe(f"Q.{TICKER}")) == 1
        assert newcomer.frame() == [
            {
                "ev": "status",
                "status": "max_connections",
                "message": "Maximum number of websocket connections exceeded. ",
            }
        ]
        assert newcomer.ended() == 1008
        assert len(older.subscribe(f"Q.{TICKER}")) == 1


def test_silence_after_auth_means_no_acks_and_no_events(still):
    still.inject("silent")
    with listening(still) as listener:
        listener.say("subscribe", f"Q.{TICKER}")
        with pytest.raises(TimeoutError):
            listener.raw(timeout=0.2)
        assert still.push("options", [QUOTE]) == 0


def test_a_stall_gives_acks_and_no_events_until_it_is_over(moving):
    with listening(moving) as listener:
        moving.inject("stall")
        assert len(listener.subscribe("T.*")) == 1
        moving.advance(1)
        with pytest.raises(TimeoutError):
            listener.raw(timeout=0.2)
        moving.clear("stall")
        moving.advance(1)
        assert listener.frame()[0]["ev"] == "T"


def test_pings_go_unanswered(still):
    still.inject("no-pong")
    with listening(still) as listener:
        assert not listener.socket.ping().wait(0.2)
        assert len(listener.subscribe(f"Q.{TICKER}")) == 1


def test_a_drop_is_without_a_close_frame(still):
    with listening(still) as listener:
        still.inject("drop:0x1")
        assert listener.ended() == 1006
    with listening(still) as listener:
        assert len(listener.subscribe("T.*")) == 1
        still.drop_connections()
        assert listener.ended() == 1006


def test_a_drop_waits_for_the_connections_age(still):
    still.inject("drop:0.3")
    with listening(still) as listener:
        began = time.monotonic()
        assert listener.ended() == 1006
        assert 0.1 < time.monotonic() - began < 5


@pytest.mark.parametrize("code", [1000, 1001, 1011])
def test_a_close_carries_its_code(still, code):
    with listening(still) as listener:
        still.inject(f"close:{code}x1")
        assert listener.ended() == code


def test_lag_makes_all_events_late(still):
    with listening(still) as listener:
        listener.subscribe(f"Q.{TICKER}")
        still.inject("lag:0.3")
        began = time.monotonic()
        still.push("options", [QUOTE])
        assert listener.frame() == [QUOTE]
        assert time.monotonic() - began > 0.25


def test_late_events_come_after_newer_ones(still):
    with listening(still) as listener:
        listener.subscribe(f"Q.{TICKER}")
        still.inject("late:0.1")
        still.push("options", quotes(100))
        prompt, late = listener.frame(), listener.frame()
        assert len(prompt) + len(late) == 100
        assert min(event["q"] for event in late) < max(event["q"] for event in prompt)
        assert {event["q"] for event in prompt + late} == set(range(1, 101))


def test_repeated_events_are_the_same_in_every_field(still):
    with listening(still) as listener:
        listener.subscribe(f"Q.{TICKER}")
        still.inject("repeat:0.5")
        still.push("options", quotes(100))
        frame = listener.frame()
        assert 120 < len(frame) < 180
        assert {json.dumps(event) for event in frame} == {json.dumps(event) for event in quotes(100)}


def test_malformed_frames_come_between_good_ones(still):
    with listening(still) as listener:
        listener.subscribe(f"Q.{TICKER}")
        still.inject("malformed:1")
        seen = set()
        for _ in range(40):
            still.push("options", [QUOTE])
            assert listener.frame() == [QUOTE]
            seen.add(listener.raw())
        assert {b"null", b"", b"[null,7,[]]"} <= seen


def test_bad_events_have_no_symbol_wrong_types_nulls_and_nan_text(still):
    with listening(still) as listener:
        listener.subscribe(f"Q.{TICKER}")
        still.inject("bad-events:1")
        still.push("options", quotes(100))
        bad = listener.frame()[1::2]
        assert any("sym" not in event for event in bad)
        assert any(event.get("t") == "yesterday" for event in bad)
        assert any(event.get("bp") == "NaN" for event in bad)
        assert any(event.get("bp", 0) is None for event in bad)
        assert any(event.get("sym") == "O:AAPL211022C000150000" for event in bad)
        assert any(event["ev"] == "ZZ" for event in bad)


def test_crossed_quotes_have_a_bid_above_the_ask(still):
    with listening(still) as listener:
        listener.subscribe(f"Q.{TICKER}")
        still.inject("crossed:0.5")
        still.push("options", quotes(100))
        assert 20 < sum(event["bp"] > event["ap"] for event in listener.frame()) < 80


def test_events_of_unknown_tickers_are_well_formed(still):
    with listening(still) as listener, listening(still, "indices") as indices:
        listener.subscribe(f"Q.{TICKER}")
        indices.subscribe("V.I:SPX")
        still.inject("unknown-ticker:1")
        still.push("options", [QUOTE])
        assert [event["sym"] for event in listener.frame()] == [TICKER, "O:ZZZW991217C00001000"]
        still.push("indices", [{"ev": "V", "val": 1.0, "T": "I:SPX", "t": 1}])
        assert [event["T"] for event in indices.frame()] == ["I:SPX", "I:NONE"]


def test_oversized_frames_exceed_a_mebibyte_and_are_still_json(still):
    with listening(still) as listener:
        listener.subscribe(f"Q.{TICKER}")
        still.inject("oversized:1.2x1")
        still.push("options", quotes(3))
        content = listener.raw()
        assert len(content) > 1024 * 1024
        assert {event["q"] for event in json.loads(content)} == {1, 2, 3}


def test_missing_acks_do_not_stop_the_events(still):
    with listening(still) as listener:
        still.inject("missing-acks:1")
        listener.say("subscribe", f"Q.{TICKER}")
        wait_until(lambda: still.subscriptions("options") == [frozenset({f"Q.{TICKER}"})], "the topic to be held")
        still.push("options", [QUOTE])
        assert listener.frame() == [QUOTE]


def test_stream_faults_strike_the_market_itself_too(moving):
    with listening(moving) as listener:
        listener.subscribe("T.*")
        moving.inject("repeat:1")
        moving.advance(0.5)
        frame = listener.frame()
        assert frame[0] == frame[1]
