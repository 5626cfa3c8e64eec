"""The conversation of one connection, with a clock of the test's own."""

from typing import Any

import orjson
import pytest
from pydantic import SecretStr

from pipeline.provider.conversation import Broken, Conversation, Pace, Tally
from tests.saying import KEY

PACE = Pace(silent_after=30, healthy_after=10, answer=10, acks=5, ping=10)


class Talk:
    """A conversation and what it said."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.pings = 0
        self.tally = Tally()
        self.now = 1000.0
        self.it = Conversation(
            SecretStr(KEY), PACE, self.tally, lambda text: self.sent.append(orjson.loads(text)), self._ping, self.now
        )

    def _ping(self) -> None:
        self.pings += 1

    def status(self, status: str, message: str = "") -> None:
        self.it.on_status({"ev": "status", "status": status, "message": message}, self.now)

    def live(self) -> "Talk":
        self.status("connected")
        self.status("auth_success")
        return self

    def want(self, *topics: str) -> None:
        self.it.want(frozenset(topics), self.now)

    def ack(self, *topics: str) -> None:
        for topic in topics:
            self.status("success", f"subscribed to: {topic}")

    def wait(self, seconds: float, *, pong: bool = True) -> None:
        """Let time pass, second by second."""
        for _ in range(int(seconds)):
            self.now += 1
            if pong:
                self.it.on_pong(self.now)
            self.it.tick(self.now)

    def params(self, action: str) -> list[set[str]]:
        return [set(frame["params"].split(",")) for frame in self.sent if frame["action"] == action]


def test_the_key_is_sent_once_and_after_the_greeting() -> None:
    talk = Talk()
    assert talk.sent == []
    talk.status("connected")
    talk.status("connected")
    assert talk.sent == [{"action": "auth", "params": KEY}]
    talk.want("Q.O:X")
    assert len(talk.sent) == 1
    talk.status("auth_success")
    talk.want("Q.O:X")
    assert talk.params("subscribe") == [{"Q.O:X"}]


@pytest.mark.parametrize(
    ("status", "kind"), [("auth_failed", "refused"), ("max_connections", "crowded"), ("auth_timeout", "lost")]
)
def test_what_ends_a_connection(status: str, kind: str) -> None:
    talk = Talk()
    talk.status("connected")
    with pytest.raises(Broken) as broken:
        talk.status(status, "said so. ")
    assert (broken.value.kind, str(broken.value)) == (kind, "said so.")


@pytest.mark.parametrize("greeted", [False, True])
def test_an_answer_that_does_not_come(greeted: bool) -> None:
    talk = Talk()
    if greeted:
        talk.status("connected")
    with pytest.raises(Broken):
        talk.wait(11)


def test_only_what_changed_is_said() -> None:
    talk = Talk().live()
    talk.want("Q.a", "Q.b")
    talk.want("Q.a", "Q.b")
    talk.want("Q.b", "Q.c")
    assert talk.params("subscribe") == [{"Q.a", "Q.b"}, {"Q.c"}]
    assert talk.params("unsubscribe") == [{"Q.a"}]


def test_long_subscriptions_are_split() -> None:
    talk = Talk().live()
    topics = {f"Q.{number}" for number in range(1200)}
    talk.want(*topics)
    frames = talk.params("subscribe")
    assert [len(frame) for frame in frames] == [500, 500, 200]
    assert set().union(*frames) == topics


def test_a_missing_ack_is_asked_for_once_more_and_counted_once() -> None:
    talk = Talk().live()
    talk.want("Q.a", "Q.b")
    talk.ack("Q.a")
    talk.wait(20)
    assert talk.params("subscribe") == [{"Q.a", "Q.b"}, {"Q.b"}]
    assert (talk.tally.missing_acks, talk.tally.acks, talk.it.missing) == (1, 1, 1)
    talk.ack("Q.b")
    assert talk.it.acked_all


def test_a_still_market_that_acknowledges_is_not_broken() -> None:
    talk = Talk().live()
    talk.want("Q.a")
    talk.ack("Q.a")
    talk.wait(600)
    assert talk.pings >= 50


def test_a_feed_that_spoke_and_fell_silent_is_broken() -> None:
    talk = Talk().live()
    talk.want("Q.a")
    talk.ack("Q.a")
    talk.it.on_events(talk.now)
    with pytest.raises(Broken, match="no event"):
        talk.wait(32)


def test_neither_acks_nor_events_is_broken() -> None:
    talk = Talk().live()
    talk.want("Q.a")
    with pytest.raises(Broken, match="neither"):
        talk.wait(32)


def test_neither_frames_nor_pongs_is_broken() -> None:
    talk = Talk().live()
    talk.want("Q.a")
    talk.ack("Q.a")
    with pytest.raises(Broken, match="no pong"):
        talk.wait(42, pong=False)


def test_events_without_pongs_are_enough() -> None:
    talk = Talk().live()
    talk.want("Q.a")
    for _ in range(100):
        talk.it.on_events(talk.now)
        talk.wait(1, pong=False)


def test_the_key_alone_makes_no_connection_healthy() -> None:
    talk = Talk().live()
    talk.want("Q.a")
    talk.wait(20)
    assert not talk.it.healthy(talk.now)
    talk.it.on_events(talk.now)
    talk.wait(9)
    assert not talk.it.healthy(talk.now)
    talk.wait(1)
    assert talk.it.healthy(talk.now)


def test_with_nothing_wanted_the_key_is_enough() -> None:
    talk = Talk().live()
    talk.wait(10)
    assert talk.it.healthy(talk.now)


@pytest.mark.parametrize("status", [{}, {"status": 7}, {"status": "success"}, {"status": "new", "message": None}])
def test_strange_statuses_change_nothing(status: dict[str, Any]) -> None:
    talk = Talk().live()
    talk.it.on_status(status, talk.now)
    assert talk.it.live
