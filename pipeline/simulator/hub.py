"""All socket connections: who may come in, what each has subscribed, and who gets which event."""

import asyncio
from typing import Any

import orjson

from pipeline.simulator import event as wording
from pipeline.simulator.clock import SessionClock
from pipeline.simulator.connection import Connection, status, text_frame
from pipeline.simulator.event import Event, Selection
from pipeline.simulator.fault import FaultBoard
from pipeline.simulator.market import Market, Step
from pipeline.simulator.playback import Playback
from pipeline.simulator.settings import SimulatorSettings
from pipeline.simulator.stream import STREAM_FAULTS, frames, troubled

_CHANNELS = {"options": wording.OPTION_CHANNELS, "indices": wording.INDEX_CHANNELS, "stocks": ("T", "Q", "A", "AM")}
_TOO_MANY_CONNECTIONS = status("max_connections", "Maximum number of websocket connections exceeded. ")
_POLICY_VIOLATION = 1008
# A wall step late by more than this many steps is caught up in several turns, so that requests are still answered.
_STEPS_PER_TURN = 20


class Hub:
    """Lives on the server's event loop; nothing here may be called from another thread."""

    def __init__(
        self, settings: SimulatorSettings, market: Market, clock: SessionClock, faults: FaultBoard,
        playback: Playback | None = None,
    ) -> None:
        self.send_buffer_bytes = settings.send_buffer_bytes
        self.connections: list[Connection] = []
        self.accepted = 0
        self.frames_sent = 0
        self._settings, self._market, self._clock, self._faults = settings, market, clock, faults
        self._playback = playback

    # What a connection reports.

    def opened(self, connection: Connection) -> None:
        self.accepted += 1
        connection.number = self.accepted
        self.connections.append(connection)
        connection.send_status(status("connected", "Connected Successfully"))
        fault = self._faults.active("auth-timeout")
        wait = fault.number if fault is not None else self._settings.auth_timeout_s
        connection.auth_timer = asyncio.get_running_loop().call_later(wait, self._unauthenticated, connection)

    def lost(self, connection: Connection) -> None:
        if connection in self.connections:
            self.connections.remove(connection)

    def answers_ping(self) -> bool:
        return self._faults.strike("no-pong") is None

    def said(self, connection: Connection, message: dict[str, Any]) -> None:
        action, params = message.get("action"), message.get("params")
        if not isinstance(params, str):
            connection.send_status(status("error", "invalid message"))
        elif action == "auth":
            self._auth(connection, params)
        elif not connection.authenticated:
            connection.send_status(status("error", "not authorized"))
        elif action == "subscribe":
            self._subscribe(connection, params)
        elif action == "unsubscribe":
            self._unsubscribe(connection, params)
        else:
            connection.send_status(status("error", "invalid message"))

    def _unauthenticated(self, connection: Connection) -> None:
        if not connection.authenticated:
            if self._faults.active("auth-timeout"):
                self._faults.strike("auth-timeout")
            connection.send_status(status("auth_timeout", "No authentication request received."))
            connection.hang_up()

    def _auth(self, connection: Connection, key: str) -> None:
        if self._faults.strike("auth-silent"):
            return
        refusal = None
        if self._faults.strike("auth-plan"):
            refusal = "Your plan doesn't include websocket access. Visit https://massive.com/pricing to upgrade."
        elif (
            self._faults.strike("auth-failed")
            or not key.strip()
            or (self._settings.keys is not None and key not in self._settings.keys)
        ):
            refusal = "authentication failed"
        if refusal is not None:
            connection.send_status(status("auth_failed", refusal))
            connection.hang_up()
            return
        connection.authenticated = True
        connection.send_status(status("auth_success", "authenticated"))
        self._limit_connections(connection)

    def _limit_connections(self, newcomer: Connection) -> None:
        """Two behaviours of the same limit are reported; each is a fault of its own."""
        peers = [c for c in self.connections if c.cluster == newcomer.cluster and c.authenticated and not c.doomed]
        fault = self._faults.active("max-connections-new")
        if fault is not None and len(peers) > fault.number:
            self._faults.strike("max-connections-new")
            newcomer.doomed = True
            return
        fault = self._faults.active("max-connections-old")
        if fault is not None and len(peers) > fault.number:
            self._faults.strike("max-connections-old")
            oldest = peers[0]
            oldest.send_status(_TOO_MANY_CONNECTIONS)
            oldest.close(_POLICY_VIOLATION, "")

    def _subscribe(self, connection: Connection, params: str) -> None:
        topics = dict.fromkeys(topic.strip() for topic in params.split(","))
        accepted, errors = self._sort_out(connection, list(topics))
        if self._silent():
            return
        connection.topics |= frozenset(accepted)
        self._select(connection)
        if errors:
            # Ahead of the acks, as seen live, and naming no topic.
            connection.send_status(*errors)
        acks = [status("success", f"subscribed to: {topic}") for topic in accepted]
        acks = [ack for ack in acks if not self._faults.chance("missing-acks")]
        if acks:
            connection.send_status(*acks)
        if connection.doomed:
            connection.send_status(_TOO_MANY_CONNECTIONS)
            connection.close(_POLICY_VIOLATION, "")

    def _sort_out(self, connection: Connection, topics: list[str]) -> tuple[list[str], list[dict[str, str]]]:
        accepted: list[str] = []
        errors: list[dict[str, str]] = []
        quotes = sum(topic.startswith("Q.") for topic in connection.topics)
        refused = self._faults.active("not-authorized")
        for topic in topics:
            channel, dot, ticker = topic.partition(".")
            known = channel in _CHANNELS[connection.cluster]
            if (
                not dot
                or not ticker
                or (not known and channel not in wording.PLAN_CHANNELS)
                or topic in connection.topics
            ):
                continue
            if not known or (refused is not None and channel == refused.param):
                if known:
                    self._faults.strike("not-authorized")
                errors.append(status("error", "not authorized"))
            elif ticker == "*" and topic not in wording.WILDCARDS:
                errors.append(status("error", f"no wildcard on {channel}"))
            elif connection.cluster == "options" and channel == "Q" and quotes >= self._settings.quote_limit:
                errors.append(status("error", f"maximum of {self._settings.quote_limit} quote subscriptions exceeded"))
            else:
                quotes += channel == "Q"
                accepted.append(topic)
        return accepted, errors

    def _unsubscribe(self, connection: Connection, params: str) -> None:
        topics = dict.fromkeys(topic.strip() for topic in params.split(","))
        held = [topic for topic in topics if topic in connection.topics]
        connection.topics -= frozenset(held)
        self._select(connection)
        if held and not self._silent():
            connection.send_status(*(status("success", f"unsubscribed to: {topic}") for topic in held))

    def _select(self, connection: Connection) -> None:
        connection.selection = Selection(self._market, connection.cluster, connection.topics)

    def _silent(self) -> bool:
        return self._faults.strike("silent") is not None

    # What goes out.

    async def run(self, pace_s: float) -> None:
        """Turn for ever: step the market to the session's clock, send, and apply the faults of whole connections."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            behind = self.catch_up(_STEPS_PER_TURN)
            self.play()
            self._end_connections(loop.time())
            due = max(due + pace_s, loop.time() - 1.0)
            await asyncio.sleep(0 if behind else max(due - loop.time(), 0))

    def catch_up(self, most: int | None = None) -> bool:
        """Step the market up to the session's clock, at most so many steps. True if more remain."""
        now_ns = self._clock.now_ns()
        taken = 0
        while self._market.time_ns + self._market.step_ns <= now_ns:
            if most is not None and taken >= most:
                return True
            self.broadcast(self._market.step())
            taken += 1
        return False

    def play(self) -> None:
        """Send what a recorded session has by now."""
        if self._playback is None:
            return
        for noun, row in self._playback.due(self._clock.now_ns()):
            if noun == "spot":
                symbol, ts, price = row.text("symbol"), int(row.text("ts")), float(row.text("price"))
                number, _, value = self._market.place_spot(symbol, price)
                self.push("indices", [wording.value_event(self._market.index_ticker(number), ts, value)])
                continue
            payload = row.fields.get(b"payload", b"")
            try:
                events = orjson.loads(payload)
            except orjson.JSONDecodeError:
                events = None
            whole = isinstance(events, list) and all(isinstance(event, dict) for event in events)
            self.push("options", events if whole else payload)  # what was no frame is none again

    def broadcast(self, step: Step) -> None:
        """Send a step's events to whoever subscribed to them. Connections with the same topics share their frames."""
        written: dict[tuple[str, frozenset[str]], list[bytes]] = {}
        for connection in list(self.connections):
            if not connection.topics or connection.selection is None:
                continue
            if self._faults.any_of(STREAM_FAULTS):
                self.deliver(connection, self._events(step, connection.cluster, connection.selection))
                continue
            key = connection.cluster, connection.topics
            if key not in written:
                events = self._events(step, connection.cluster, connection.selection)
                written[key] = [text_frame(payload) for payload in frames(events)]
            if written[key] and not self._withheld():
                self.frames_sent += sum(connection.send_frame(frame) for frame in written[key])

    def _events(self, step: Step, cluster: str, selection: Selection) -> list[Event]:
        if cluster == "options":
            return wording.option_events(self._market, step, selection)
        return wording.index_events(self._market, step, selection) if cluster == "indices" else []

    def _withheld(self) -> bool:
        return self._silent() or self._faults.strike("stall") is not None

    def deliver(self, connection: Connection, events: list[Event]) -> bool:
        """Send these events to one connection, under whatever faults are on. False if nothing was sent."""
        if not events or self._withheld():
            return False
        if not self._faults.any_of(STREAM_FAULTS):
            sent = [connection.send(payload) for payload in frames(events)]
            self.frames_sent += sum(sent)
            return any(sent)
        loop = asyncio.get_running_loop()
        for wait, payload in troubled(events, self._faults):
            self.frames_sent += 1
            if wait:
                loop.call_later(wait, connection.send, payload)
            else:
                connection.send(payload)
        return True

    def push(self, cluster: str, frame: list[Event] | bytes) -> int:
        """Send one frame by hand: events to those subscribed to any of them, bytes as they are to all authenticated."""
        count = 0
        for connection in [c for c in self.connections if c.cluster == cluster and c.authenticated]:
            if isinstance(frame, bytes):
                count += connection.send(frame)
                continue
            wanted = [event for event in frame if _wants(connection.topics, event)]
            if wanted and not self._faults.any_of(STREAM_FAULTS) and not self._withheld():
                count += connection.send(orjson.dumps(wanted))
            else:
                count += self.deliver(connection, wanted)
        return count

    def _end_connections(self, now: float) -> None:
        drop, close = self._faults.active("drop"), self._faults.active("close")
        for connection in list(self.connections) if drop or close else []:
            if drop is not None and now - connection.opened_at >= drop.number and self._faults.strike("drop"):
                connection.cut()
            elif close is not None and connection.authenticated and self._faults.strike("close"):
                connection.close(int(close.number), "")


def _wants(topics: frozenset[str], event: Event) -> bool:
    channel = event.get("ev")
    return f"{channel}.{event.get('sym', event.get('T'))}" in topics or f"{channel}.*" in topics
