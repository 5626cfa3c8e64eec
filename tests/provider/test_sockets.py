"""A feed against every way the simulated provider's sockets misbehave: it recovers, and says so in two lines."""

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from pydantic import SecretStr

from pipeline.logs import get_log
from pipeline.provider.conversation import Pace
from pipeline.provider.frames import Frame, Received
from pipeline.provider.sockets import Feed
from pipeline.simulator import Simulator, SimulatorSettings
from tests.provider.conftest import MORNING
from tests.saying import KEY, Said, listening, logged
from tests.simulator.listener import listening as listener
from tests.waiting import wait_until

QUICK = Pace(
    silent_after=0.8, healthy_after=0.4, answer=0.5, acks=0.25, ping=0.2, backoff=0.05, backoff_most=0.2, crowded=0.1,
    crowded_most=0.4, refused=0.3,
)


@pytest.fixture(scope="module")
def shared_busy() -> Iterator[Simulator]:
    with Simulator(
        SimulatorSettings(symbols=("SPX",), rate=2_000, clock=MORNING, keys=frozenset({KEY}), auth_timeout_s=5)
    ) as sim:
        yield sim


@pytest.fixture
def busy(shared_busy: Simulator) -> Iterator[Simulator]:
    """SPX at 2,000 events a second."""
    shared_busy.clear()
    yield shared_busy
    shared_busy.clear()


@dataclass
class Fed:
    feed: Feed
    said: Said
    sim: Simulator
    topics: frozenset[str]
    frames: list[Received] = field(default_factory=list)

    def more(self, count: int = 3) -> None:
        """Wait for so many more frames."""
        have = len(self.frames)
        wait_until(lambda: len(self.frames) >= have + count, f"{count} frames")

    def healthy(self) -> None:
        wait_until(lambda: self.feed.healthy, "a healthy connection")

    def healed(self) -> None:
        """It broke once and healed once, and holds every topic again."""
        self.healthy()
        assert self.said.of("options socket") == ["broke", "healed"]
        assert self.sim.subscriptions("options") == [self.topics]


@pytest.fixture
def feed_of(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[..., Fed]]:
    """Feeds with quick tempers. Whatever happens to them, nothing they log holds the key."""
    caplog.set_level(logging.DEBUG)
    made: list[Fed] = []
    with listening() as said:

        def make(sim: Simulator, topics: frozenset[str] | None = None, key: str = KEY, **pace: Any) -> Fed:
            tickers = sorted(sim.market.row_of)[:400]
            topics = topics if topics is not None else frozenset(f"Q.{ticker}" for ticker in tickers)

            def on_frame(received: Received, _: Frame) -> None:
                fed.frames.append(received)

            settings = {name: getattr(QUICK, name) for name in QUICK.__dataclass_fields__} | pace
            url, log = f"{sim.socket_url}/options", get_log(stage="test")
            feed = Feed(url, SecretStr(key), "options", log, on_frame, Pace(**settings))
            fed = Fed(feed, said, sim, topics)
            made.append(fed)
            feed.want(topics)
            feed.start()
            return fed

        yield make
        for fed in made:
            fed.feed.close()
            assert not fed.feed.alive
    assert KEY not in said.text + logged(caplog)


FeedOf = Callable[..., Fed]


def test_frames_arrive_as_they_were_sent(busy: Simulator, feed_of: FeedOf) -> None:
    fed = feed_of(busy)
    fed.healthy()
    topic = sorted(fed.topics)[0]
    busy.push("options", [{"ev": "Q", "sym": topic[2:], "bp": 1.25, "ap": 1.5, "t": 1, "q": 7}])
    expected = f'"sym":"{topic[2:]}","bp":1.25,"ap":1.5,"t":1,"q":7'.encode()
    wait_until(lambda: any(expected in frame.payload for frame in fed.frames), "the frame")
    assert fed.feed.tally.acks == len(fed.topics)
    assert fed.said.of("options socket") == []


@pytest.mark.parametrize("code", [1000, 1001, 1008, 1009])
def test_a_close_of_any_kind_is_followed_by_a_new_connection(busy: Simulator, feed_of: FeedOf, code: int) -> None:
    fed = feed_of(busy)
    fed.more()
    busy.inject(f"close:{code}x1")
    wait_until(lambda: fed.feed.tally.reconnects == 1, "a reconnect")
    fed.healed()
    assert str(code) in fed.said.why("options socket")
    fed.more()


def test_a_cut_connection_is_opened_again(busy: Simulator, feed_of: FeedOf) -> None:
    fed = feed_of(busy)
    fed.more()
    busy.drop_connections()
    wait_until(lambda: fed.feed.tally.reconnects == 1, "a reconnect")
    fed.healed()
    fed.more()


def test_a_connection_that_is_cut_again_and_again_is_one_outage(busy: Simulator, feed_of: FeedOf) -> None:
    fed = feed_of(busy)
    busy.inject("drop:0.15")
    wait_until(lambda: fed.feed.tally.reconnects >= 4, "reconnects")
    assert fed.said.of("options socket") == ["broke"]
    busy.clear()
    fed.healed()


@pytest.mark.parametrize("fault", ["auth-failedx2", "auth-planx2"])
def test_a_refused_key_is_said_once_and_tried_slowly(busy: Simulator, feed_of: FeedOf, fault: str) -> None:
    busy.inject(fault)
    started = time.monotonic()
    fed = feed_of(busy)
    fed.healthy()
    assert time.monotonic() - started >= 2 * QUICK.refused
    assert fed.said.of("options key") == ["broke", "healed"]
    assert fed.said.of("options socket") == []
    assert fed.feed.tally.refusals == 2


def test_a_wrong_key_is_said_once(busy: Simulator, feed_of: FeedOf) -> None:
    fed = feed_of(busy, key="another")
    wait_until(lambda: fed.feed.tally.refusals >= 3, "refusals")
    assert fed.said.of("options key") == ["broke"]
    assert not fed.feed.healthy


@pytest.mark.parametrize("faults", [["auth-silentx1"], ["auth-silentx1", "auth-timeout:0.1x1"]])
def test_no_answer_to_the_key(busy: Simulator, feed_of: FeedOf, faults: list[str]) -> None:
    for fault in faults:
        busy.inject(fault)
    fed = feed_of(busy)
    fed.healed()


def test_a_channel_outside_the_plan_is_said_once_and_the_rest_goes_on(busy: Simulator, feed_of: FeedOf) -> None:
    busy.inject("not-authorized:T")
    tickers = sorted(busy.market.row_of)[:100]
    fed = feed_of(busy, frozenset(f"{channel}.{ticker}" for channel in "QT" for ticker in tickers))
    wait_until(lambda: fed.said.of("options subscriptions"), "the line")
    fed.more()
    fed.healthy()
    assert fed.feed.tally.not_authorized
    assert fed.feed.tally.reconnects == 0
    busy.clear()
    busy.drop_connections()
    wait_until(lambda: len(fed.said.of("options subscriptions")) == 2, "all acks")
    assert fed.said.of("options subscriptions") == ["broke", "healed"]


def test_missing_acks_are_counted_and_asked_for_once_more(busy: Simulator, feed_of: FeedOf) -> None:
    busy.inject("missing-acks:1")
    fed = feed_of(busy)
    wait_until(lambda: fed.said.of("options subscriptions"), "the line")
    fed.healthy()
    fed.more(10)
    assert fed.feed.tally.missing_acks == len(fed.topics)
    assert fed.feed.tally.reconnects == 0  # events come: nothing is broken
    assert fed.said.of("options subscriptions") == ["broke"]


def test_another_client_that_takes_the_connection(busy: Simulator, feed_of: FeedOf) -> None:
    """The older connection is closed; taking it back at once would make a ping-pong."""
    fed = feed_of(busy)
    fed.healthy()
    busy.inject("max-connections-old:1")
    with listener(busy, "options", log_in=False) as other:
        other.log_in(KEY)
        wait_until(lambda: fed.feed.tally.crowded >= 1, "the status")
        wait_until(lambda: fed.feed.tally.reconnects >= 1, "a reconnect")
    fed.healed()


def test_a_newcomer_that_is_turned_away_after_subscribing_backs_off(busy: Simulator, feed_of: FeedOf) -> None:
    """It passes the key and the subscription each time, so neither may shorten the backoff."""
    busy.inject("max-connections-new:1")
    with listener(busy, "options", log_in=False) as other:
        other.log_in(KEY)
        fed = feed_of(busy)
        wait_until(lambda: fed.feed.tally.crowded >= 4, "attempts")
        started, before = time.monotonic(), fed.feed.tally.crowded
        wait_until(lambda: fed.feed.tally.crowded >= before + 3, "attempts")
        assert time.monotonic() - started >= 3 * QUICK.crowded_most / 2
        assert fed.said.of("options socket") == ["broke"]
    fed.healed()


def test_a_feed_without_acks_or_events_is_opened_again(busy: Simulator, feed_of: FeedOf) -> None:
    busy.inject("silent")
    fed = feed_of(busy)
    wait_until(lambda: fed.feed.tally.reconnects >= 2, "reconnects")
    busy.clear()
    fed.healed()


def test_a_feed_that_spoke_and_stalls_is_opened_again(busy: Simulator, feed_of: FeedOf) -> None:
    fed = feed_of(busy)
    fed.healthy()
    fed.more()
    busy.inject("stall")
    wait_until(lambda: fed.feed.tally.reconnects >= 1, "a reconnect")
    busy.clear()
    wait_until(lambda: len(fed.said.of("options socket")) == 2, "two lines")
    fed.healed()


def test_a_still_market_is_left_alone(still: Simulator, feed_of: FeedOf) -> None:
    fed = feed_of(still)
    fed.healthy()
    at = time.monotonic()
    wait_until(lambda: time.monotonic() > at + 2 * QUICK.silent_after, "more than the longest silence")
    assert fed.feed.tally.reconnects == 0
    still.inject("no-pong")
    wait_until(lambda: fed.feed.tally.reconnects >= 1, "a reconnect: neither frames nor pongs")
    still.clear()
    wait_until(lambda: len(fed.said.of("options socket")) == 2, "two lines")
    fed.healed()


def test_missing_pongs_do_not_end_a_feed_that_speaks(busy: Simulator, feed_of: FeedOf) -> None:
    busy.inject("no-pong")
    fed = feed_of(busy)
    at = time.monotonic()
    wait_until(lambda: time.monotonic() > at + 1.5, "more than the longest silence")
    fed.more()
    assert fed.feed.tally.reconnects == 0


def test_frames_of_any_kind_are_handed_on(busy: Simulator, feed_of: FeedOf) -> None:
    fed = feed_of(busy)
    for fault in ("lag:0.2", "late:0.2", "repeat:0.5", "malformed:0.5", "bad-events:0.5", "crossed:0.5",
                  "unknown-ticker:0.5", "oversized:1.2x3"):  # fmt: skip
        busy.inject(fault)
        fed.more(10)
        busy.clear()
    fed.more()
    assert fed.feed.tally.reconnects == 0
    assert fed.said.lines == []


def test_only_changes_are_subscribed(busy: Simulator, feed_of: FeedOf) -> None:
    fed = feed_of(busy)
    fed.healthy()
    tickers = sorted(busy.market.row_of)[200:600]
    fed.feed.want(frozenset(f"Q.{ticker}" for ticker in tickers))
    wait_until(lambda: busy.subscriptions("options") == [frozenset(f"Q.{t}" for t in tickers)], "the new topics")
    wait_until(lambda: fed.feed.tally.acks == 600, "acks of the new ones alone")


def test_nobody_there_and_then_somebody(feed_of: FeedOf) -> None:
    settings = SimulatorSettings(symbols=("SPX",), rate=500, clock=MORNING)
    with Simulator(settings) as sim:
        port = sim.port
    settings = SimulatorSettings(symbols=("SPX",), rate=500, clock=MORNING, port=port)
    later = Simulator(settings)
    later.port = port
    fed = feed_of(later)
    wait_until(lambda: fed.feed.tally.reconnects >= 2, "attempts")
    with later:
        fed.healed()
        fed.feed.close()
