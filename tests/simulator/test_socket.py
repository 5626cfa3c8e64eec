import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from pipeline.simulator import Simulator, SimulatorSettings
from tests.simulator.conftest import MORNING
from tests.simulator.listener import listening, messages
from tests.waiting import wait_until

SPOT_NEAR = "O:SPXW260909C06800000"
OTHER = "O:SPXW260909P06800000"
QUOTE = {"ev": "Q", "sym": SPOT_NEAR, "bx": 300, "ax": 300, "bp": 1.0, "ap": 1.1, "bs": 1, "as": 1, "t": 1, "q": 1}


@pytest.mark.parametrize("cluster", ["options", "indices", "stocks"])
def test_the_handshake_is_one_frame_on_connect_and_one_after_auth(still, cluster):
    with listening(still, cluster, log_in=False) as listener:
        assert listener.log_in("any key") == [{"ev": "status", "status": "auth_success", "message": "authenticated"}]


def test_acks_come_in_one_frame_one_a_topic_with_spaces_trimmed(still):
    with listening(still) as listener:
        listener.say("subscribe", f"Q.{SPOT_NEAR}, T.{SPOT_NEAR} ,A.{OTHER}")
        frame = listener.frame()
        assert messages(frame) == [f"subscribed to: {t}" for t in (f"Q.{SPOT_NEAR}", f"T.{SPOT_NEAR}", f"A.{OTHER}")]
        assert {event["status"] for event in frame} == {"success"}
        assert still.subscriptions("options") == [frozenset({f"Q.{SPOT_NEAR}", f"T.{SPOT_NEAR}", f"A.{OTHER}"})]


def test_unknown_channels_are_met_with_silence_and_unknown_tickers_with_an_ack(still):
    with listening(still) as listener:
        listener.say("subscribe", "ZZ.X")
        listener.say("subscribe", f"Q.{SPOT_NEAR},Q.O:NONE260101C00001000")
        assert messages(listener.frame()) == [f"subscribed to: Q.{SPOT_NEAR}", "subscribed to: Q.O:NONE260101C00001000"]


def test_what_is_held_already_is_not_acked_again(still):
    with listening(still) as listener:
        listener.subscribe(f"Q.{SPOT_NEAR}")
        assert messages(listener.subscribe(f"Q.{SPOT_NEAR}", f"Q.{OTHER}")) == [f"subscribed to: Q.{OTHER}"]


def test_unsubscribing_ends_the_events(still):
    with listening(still) as listener:
        listener.subscribe(f"Q.{SPOT_NEAR}", f"T.{SPOT_NEAR}")
        listener.say("unsubscribe", f"Q.{SPOT_NEAR}")
        assert messages(listener.frame()) == [f"unsubscribed to: Q.{SPOT_NEAR}"]
        assert still.push("options", [QUOTE]) == 0
        assert still.push("options", [QUOTE | {"ev": "T"}]) == 1


def test_quotes_are_limited_to_a_thousand_a_connection_and_the_surplus_is_refused(still):
    with listening(still) as listener:
        topics = [f"Q.{ticker}" for ticker in still.market.ticker[:1_001]]
        refusal, acks = listener.subscribe(*topics), listener.frame()
        assert [event["status"] for event in refusal] == ["error"]
        assert len(acks) == 1_000
        assert len(still.subscriptions("options")[0]) == 1_000


def test_wildcards_are_for_trades_and_bars_only(still):
    with listening(still) as listener:
        assert [event["status"] for event in listener.subscribe("Q.*")] == ["error"]
        assert len(listener.subscribe("T.*", "A.*", "AM.*")) == 3


def test_other_plans_channels_are_refused_without_naming_a_topic_ahead_of_the_acks(still):
    with listening(still) as listener:
        first = listener.subscribe(f"Q.{SPOT_NEAR}", f"FMV.{SPOT_NEAR}")
        assert first == [{"ev": "status", "status": "error", "message": "not authorized"}]
        assert messages(listener.frame()) == [f"subscribed to: Q.{SPOT_NEAR}"]


def test_nothing_can_be_subscribed_before_auth(still):
    with listening(still, log_in=False) as listener:
        listener.frame()
        assert messages(listener.subscribe("T.*")) == ["not authorized"]


@pytest.mark.parametrize("said", ["nonsense", "[]", '{"action":"dance","params":"x"}', '{"action":"subscribe"}'])
def test_a_message_that_cannot_be_read_is_an_error_and_the_connection_lives(still, said):
    with listening(still) as listener:
        listener.socket.send(said)
        assert [event["status"] for event in listener.frame()] == ["error"]
        assert len(listener.subscribe("T.*")) == 1


def test_no_auth_in_time_ends_the_connection_without_a_close_frame():
    settings = SimulatorSettings(symbols=("SPX",), rate=0, clock=MORNING, clock_speed=0, auth_timeout_s=0.1)
    with Simulator(settings) as sim, listening(sim, log_in=False) as listener:
        listener.frame()
        assert listener.frame()[0]["status"] == "auth_timeout"
        assert listener.ended() == 1006


def test_keys_may_be_restricted():
    settings = SimulatorSettings(symbols=("SPX",), rate=0, clock=MORNING, keys=frozenset({"right"}))
    with Simulator(settings) as sim:
        with listening(sim, log_in=False) as listener:
            assert listener.log_in("wrong")[0]["status"] == "auth_failed"
            assert listener.ended() == 1006
        with listening(sim, log_in=False) as listener:
            assert listener.log_in("right")[0]["status"] == "auth_success"


def test_another_path_is_no_socket(still):
    with pytest.raises(InvalidStatus, match="404"), connect(f"{still.socket_url}/crypto"):
        pass


def test_pings_are_answered(still):
    with listening(still) as listener:
        assert listener.socket.ping().wait(5)


def test_connections_are_counted_while_they_last(still):
    with listening(still), listening(still):
        assert still.connections == 2
    wait_until(lambda: still.connections == 0, "both sockets to be gone")
    assert still.accepted >= 2


def test_events_go_only_to_those_who_asked_for_them(moving):
    with listening(moving) as quotes, listening(moving) as trades, listening(moving) as nothing:
        quotes.subscribe(f"Q.{SPOT_NEAR}", f"Q.{OTHER}")
        trades.subscribe("T.*", "A.*")
        moving.advance(2)
        moving.push("options", b'[{"ev":"end"}]')
        assert nothing.frame() == [{"ev": "end"}]
        kinds: list[set] = []
        for listener in (quotes, trades):
            seen = set()
            while (frame := listener.frame()) != [{"ev": "end"}]:
                seen |= {(event["ev"], event["sym"]) for event in frame}
            kinds.append(seen)
        assert kinds[0] == {("Q", SPOT_NEAR), ("Q", OTHER)}
        assert {kind for kind, _ in kinds[1]} == {"T", "A"}
        assert len(kinds[1]) > 50


def test_frames_hold_many_events_at_high_rates(moving):
    with listening(moving) as listener:
        # In pieces, since a full house of quotes exceeds the limit of one subscription.
        listener.subscribe(*(f"Q.{ticker}" for ticker in moving.market.ticker[-1_000:]), "T.*")
        moving.advance(1)
        assert len(listener.frame()) > 5


def test_the_indices_socket_speaks_of_values(moving):
    with listening(moving, "indices") as listener:
        assert len(listener.subscribe("V.I:SPX", "A.I:SPX", "V.I:NONE")) == 3
        moving.advance(1.1)
        events = [event for _ in range(5) for event in listener.frame()]
        assert {event["ev"] for event in events} >= {"V"}
        value = next(event for event in events if event["ev"] == "V")
        assert set(value) == {"ev", "val", "T", "t"}
        assert value["T"] == "I:SPX"
        assert 1_000 < value["t"] / 1e9 < 2_000


def test_a_pushed_frame_arrives_exactly_and_only_where_subscribed(still):
    with listening(still) as one, listening(still) as other:
        one.subscribe(f"Q.{SPOT_NEAR}")
        other.subscribe(f"T.{SPOT_NEAR}")
        assert still.push("options", [QUOTE, QUOTE | {"ev": "T"}]) == 2
        assert one.frame() == [QUOTE]
        assert other.frame() == [QUOTE | {"ev": "T"}]
        assert still.push("options", "not json") == 2
        assert one.raw() == b"not json"
        assert still.push("indices", b"[]") == 0


def test_spot_placed_by_hand_is_told_and_served(moving):
    with listening(moving, "indices") as listener:
        listener.subscribe("V.I:SPX")
        moving.place_spot("SPX", 6_900.25)
        event = listener.frame()[0]
        assert (event["val"], event["T"]) == (6_900.25, "I:SPX")
        assert moving.market.spot[0] == 6_900.25


def test_a_slow_consumer_is_late_at_first_and_then_cut_off():
    settings = SimulatorSettings(symbols=("SPX",), rate=0, clock=MORNING, clock_speed=0, send_buffer_bytes=1 << 20)
    with Simulator(settings) as sim, listening(sim) as listener:
        frame = b'["' + b"x" * 400_000 + b'"]'
        # The client does not read: what the kernel's buffers and its own do not take stays with the server.
        wait_until(lambda: sim.push("options", frame) == 0, "the server to cut the consumer off")
        assert listener.ended() == 1006
        assert sim.connections == 0
