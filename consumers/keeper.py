"""keeper: one leader that does what must be done once and on time.

Each turn: queue the fetches that are due or wanted, notice spot that drifted out of the window and feeds that fell
silent. Now and then: trim streams behind their slowest group, let past epochs go, take consumers that left off their
groups, queue again what nobody would ever do (it should never happen, and is counted), store a base frame of the
hydrated state and audit that incremental equals full.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import orjson
from redis.exceptions import RedisError, ResponseError
from walrus import Database

from pipeline.audit import audit_epoch
from pipeline.base_frame import store_frame
from pipeline.epochs import Epochs, tell_feed
from pipeline.geometry import has_drifted
from pipeline.keys import Keys
from pipeline.leader import Leadership
from pipeline.life import Life
from pipeline.logs import Log, Outage, get_log
from pipeline.publication import MODELS
from pipeline.scripts import Scripts
from pipeline.settings import Settings
from pipeline.stage import passes

JOB_PATIENCE_MS = 120_000
"""A fetch that has not finished for so long is lost: its job is queued again."""
RETIRED_TTL_S = 300
FLOW_KEPT_MS = 3_600_000
DEAD_LETTERS_MAX = 10_000
_RETIRE_KEYS = 500
_WORKER_GONE_MS = 60_000

GROUPS = {
    "chain_jobs": ["chain"], "chain": ["normalize"], "ws": ["hydrate"], "spot": ["hydrate"], "dirty": ["calculate"],
    "diff": ["models"], "commit": [], "model": [], "epoch": [],
}
"""Which groups read which stream: nothing is trimmed before all of them have done it."""
OPTIONAL_GROUPS = {"model": ["vigil", "vexy"], "epoch": ["vigil"]}
"""Groups that hold a stream while they are served, and may be missing. One that nobody has served for
``consumer_idle_s`` is let go, or it would hold the stream for ever. Its stage makes it again at the start of what is
left, and skips what it had folded: the ids are in its state."""


@dataclass(slots=True)
class Duty:
    """Something the keeper does every ``every_s``."""

    name: str
    every_s: float
    do: Callable[[], None]
    due: float = 0.0


class Keeper:
    def __init__(
        self, settings: Settings, database: Database, progress: Callable[[], None] = lambda: None
    ) -> None:
        self.keys = Keys(settings.layout, settings.namespace)
        self.scripts = Scripts(database)
        self._settings = settings
        self._progress = progress
        self._database = database
        self._epochs = Epochs(database, self.keys)
        self._log: Log = get_log(stage="keeper")
        self._drift_asked: dict[str, float] = {}
        self._served: dict[tuple[str, str], float] = {}
        self._since_ms = _now_ms()  # a feed that has not spoken since then has not fallen silent either
        self.duties = [
            Duty("schedule", settings.keeper_interval_s, self.schedule),
            Duty("dormancy", settings.keeper_interval_s, self.watch_feeds),
            Duty("repair", 5.0, self.repair),
            Duty("retire", 2.0, self.retire),
            Duty("trim", 5.0, self.trim),
            Duty("flows", 30.0, self.trim_flows),
            Duty("reap", 30.0, self.reap),
            Duty("audit", settings.snapshot_interval_s, self.audit, time.monotonic() + settings.snapshot_interval_s),
        ]

    # --- fetches ---
    def schedule(self) -> None:
        """Queue the fetches that are due; ask for one at once where spot has left the middle of the window."""
        for symbol in self._settings.symbols:
            job = self.keys.chain_job(symbol)
            if self._has_drifted(symbol) and self._may_ask(symbol):
                self._database.hset(job, "wanted", "drift")
            reason = self.scripts.run(
                "enqueue_chain",
                {
                    "jobs": self.keys.stream("chain_jobs", symbol), "schedule": self.keys.chain_schedule(symbol),
                    "job": job,
                },
                {"symbol": symbol, "now_ms": _now_ms(), "patience_ms": JOB_PATIENCE_MS},
            )
            if reason not in (b"", b"interval"):
                self._log.info("chain wanted", symbol=symbol, reason=reason.decode())

    def _has_drifted(self, symbol: str) -> bool:
        epoch, meta = self._active(symbol)
        spot = self._database.get(self.keys.spot(symbol))
        if not epoch or not spot or not meta.get(b"centre"):
            return False
        return has_drifted(float(orjson.loads(spot)["price"]), float(meta[b"centre"]), self._settings.scope_strikes)

    def _may_ask(self, symbol: str) -> bool:
        """Once at once; then at the chain's own pace, for a chain that does not move the window will not the next time.
        """
        now = time.monotonic()
        if now - self._drift_asked.get(symbol, -self._settings.chain_interval_s) < self._settings.chain_interval_s:
            return False
        self._drift_asked[symbol] = now
        return True

    def _active(self, symbol: str) -> tuple[str, dict[bytes, bytes]]:
        epoch = (self._database.hget(self.keys.epoch_active(symbol), symbol) or b"").decode()
        return epoch, self._database.hgetall(self.keys.epoch_meta(epoch)) if epoch else {}

    # --- feeds ---
    def watch_feeds(self) -> None:
        """A feed that had been speaking and fell silent makes its epoch dormant, again at the chain's own pace."""
        for symbol in self._settings.symbols:
            epoch, meta = self._active(symbol)
            heard = self._database.hget(self.keys.analytics("ws", symbol), f"last_frame_ms:{symbol}")
            if not epoch or heard is None or int(heard) < self._since_ms:
                continue
            silent_s = (_now_ms() - int(heard)) / 1000
            dormant = meta.get(b"state") == b"dormant"
            if silent_s <= self._settings.dormant_after_s:
                # Either the epoch fell dormant, or it was made because the one before it did.
                if dormant or (meta.get(b"reason") == b"dormant" and b"resumed" not in meta):
                    self._tell_feed(symbol, epoch, "resumed")
            elif not dormant and self._ripe(meta) and self._listening(symbol):
                self._tell_feed(symbol, epoch, "dormant")

    def _ripe(self, meta: dict[bytes, bytes]) -> bool:
        """An epoch that dormancy made is left alone for as long as a chain normally is."""
        age_s = (_now_ms() - int(meta.get(b"created_ts", b"0"))) / 1000
        return meta.get(b"reason") != b"dormant" or age_s >= self._settings.chain_interval_s

    def _listening(self, symbol: str) -> bool:
        market = self._database.hget(self.keys.analytics("chain", symbol), "market")
        return market in (None, b"open") and bool(self._database.exists(self.keys.subscriptions(symbol)))

    def _tell_feed(self, symbol: str, epoch: str, event: str) -> None:
        if tell_feed(self.scripts, self.keys, symbol, epoch, event, _now_ms()):
            self._log.info(f"feed {event}", symbol=symbol, epoch=epoch)

    # --- repair ---
    def repair(self) -> None:
        """Queue again what nobody would ever compute or publish."""
        for symbol in self._settings.symbols:
            epoch, _ = self._active(symbol)
            if not epoch:
                continue
            repaired = 0
            names = dict(self.keys.names(symbol, epoch))
            for pane in self._database.smembers(self.keys.dirty_panes(epoch)):
                repaired += self._try(
                    "repair_pane", {"stream": self.keys.stream("dirty", symbol)},
                    {"group": "calculate", "symbol": symbol, "epoch": epoch, "pane": pane, "names": names,
                     "ts": _now_ms()},
                )
            repaired += self._try(
                "repair_symbol", {"stream": self.keys.stream("diff", symbol)},
                {"group": "models", "symbol": symbol, "epoch": epoch, "names": names, "ts": _now_ms(),
                 "again": int(self._lost_document(symbol))},
            )
            if repaired:
                self._database.hincrby(self.keys.analytics("keeper", symbol), "repairs", repaired)
                self._log.warning("queued again what nobody would have done", symbol=symbol, repairs=repaired)

    def _lost_document(self, symbol: str) -> bool:
        if not self._database.hexists(self.keys.models_state(symbol), f"{MODELS[0]}:version"):
            return False  # nothing was ever published
        documents = [self.keys.model(model, symbol) for model in MODELS]
        return int(self._database.exists(*documents)) < len(documents)

    def _try(self, script: str, keys: dict[str, str], arguments: dict[str, object]) -> int:
        try:
            return int(self.scripts.run(script, keys, arguments))  # type: ignore[arg-type]
        except ResponseError as error:
            if str(error).startswith("NOGROUP") or "no such key" in str(error):
                return 0  # the stage has never run: its first worker begins at the start of the stream
            raise

    # --- letting go ---
    def retire(self) -> None:
        """Give the keys of past epochs their TTL, in bounded pieces."""
        for symbol in self._settings.symbols:
            for member in self._database.smembers(self.keys.epoch_retiring(symbol)):
                if member.decode().split(":")[0] == symbol:
                    self._retire_epoch(symbol, member.decode())

    def _retire_epoch(self, symbol: str, epoch_id: str) -> None:
        keys = self.keys
        epoch = self._epochs.get(epoch_id)
        panes = epoch.panes if epoch else {}
        members = [
            key
            for pane in panes
            for key in (keys.dirty(epoch_id, pane), keys.lease(epoch_id, pane), keys.tiles(epoch_id, pane),
                        keys.grids(epoch_id, pane), *keys.registers(epoch_id, pane).values())
        ]
        members += [keys.epoch_meta(epoch_id), keys.staged(epoch_id), keys.queued(epoch_id), keys.owed(epoch_id),
                    keys.dirty_panes(epoch_id)]
        members.append(keys.geometry(epoch_id))  # last: it says which the others are
        for first in range(0, len(members), _RETIRE_KEYS):
            part = members[first : first + _RETIRE_KEYS]
            last = first + _RETIRE_KEYS >= len(members)
            if not self.scripts.run(
                "retire",
                {
                    "retiring": keys.epoch_retiring(symbol), "active": keys.epoch_active(symbol),
                    "staging": keys.epoch_staging(symbol),
                },
                {"symbol": symbol, "epoch": epoch_id, "ttl_s": RETIRED_TTL_S, "keys": list(part), "last": int(last)},
            ):
                return
        self._database.xadd(
            keys.stream("epoch", symbol),
            {"event": "retired", "symbol": symbol, "epoch": epoch_id, "previous": "", "reason": "superseded",
             "ts": _now_ms()},
        )

    def trim(self) -> None:
        """Trim every stream behind its slowest group and the window kept for replays."""
        now = _now_ms()
        for noun, groups in GROUPS.items():
            kept_s = self._settings.model_retention_s if noun == "model" else self._settings.retention_s
            for stream in self.keys.streams(noun, self._settings.symbols):
                self.scripts.run(
                    "trim", {"stream": stream}, {"keep_from": f"{int(now - kept_s * 1000)}-0", "groups": list(groups)}
                )
        for stream in self.keys.streams("dirty", self._settings.symbols):  # any: they say which slot the letters are in
            self._database.xtrim(self.keys.dead_of(stream), maxlen=DEAD_LETTERS_MAX)

    def trim_flows(self) -> None:
        """Keep an hour of seconds of each underlying's trade flow."""
        for symbol in self._settings.symbols:
            key = self.keys.flow_delta(symbol)
            seconds = sorted(int(second) for second in self._database.hkeys(key))
            if old := [second for second in seconds if second < seconds[-1] - FLOW_KEPT_MS]:
                self._database.hdel(key, *old)

    def reap(self) -> None:
        """Take consumers that left without a word off their groups, once they own nothing."""
        for noun, groups in GROUPS.items():
            for stream in self.keys.streams(noun, self._settings.symbols):
                for group in groups:
                    self._reap_group(stream, group)
        for noun, groups in OPTIONAL_GROUPS.items():
            for stream in self.keys.streams(noun, self._settings.symbols):
                for group in groups:
                    self._reap_group(stream, group)
                    self._release_stream(stream, group)
        for worker, record in self._database.hgetall(self.keys.workers()).items():
            if _now_ms() - int(orjson.loads(record)["heartbeat"]) > _WORKER_GONE_MS:
                self._database.hdel(self.keys.workers(), worker)

    def _reap_group(self, stream: str, group: str) -> None:
        try:
            consumers = self._database.xinfo_consumers(stream, group)
        except ResponseError:
            return  # no such stream or group yet
        for consumer in consumers:
            if consumer["pending"] == 0 and consumer["idle"] > self._settings.consumer_idle_s * 1000:
                self.scripts.run("leave", {"stream": stream}, {"group": group, "consumer": consumer["name"]})

    def _release_stream(self, stream: str, group: str) -> None:
        """Let an optional group go that nobody has served for long."""
        try:
            consumers = self._database.xinfo_consumers(stream, group)
        except ResponseError:
            self._served.pop((stream, group), None)
            return
        now, patience_s = time.monotonic(), self._settings.consumer_idle_s
        if any(consumer["idle"] <= patience_s * 1000 for consumer in consumers):
            self._served[stream, group] = now
        elif now - self._served.setdefault((stream, group), now) > patience_s:
            self._database.xgroup_destroy(stream, group)
            self._log.warning("let a group go that nobody serves", stream=stream, group=group)

    # --- audit ---
    def audit(self) -> None:
        """Store a base frame of the hydrated state and compute every quiet pane from it anew (G6)."""
        for symbol in self._settings.symbols:
            counters = self.keys.analytics("keeper", symbol)
            epoch_id, _ = self._active(symbol)
            epoch = self._epochs.get(epoch_id) if epoch_id else None
            if epoch is None:
                continue
            store_frame(self._database, self.scripts, self.keys, epoch, self._settings, _now_ms())
            audit = audit_epoch(self.scripts, self.keys, epoch)
            self._database.hincrby(counters, "audited", audit.checked)
            self._database.hincrby(counters, "drift", len(audit.drifted))
            if audit.drifted:
                self._log.error("stored tiles are not what their contracts give", epoch=epoch_id, panes=audit.drifted)

    # --- life ---
    def turn(self) -> None:
        """Do what is due."""
        for duty in self.duties:
            now = time.monotonic()
            if now >= duty.due:
                duty.due = now + duty.every_s
                duty.do()
                self._progress()


def _now_ms() -> int:
    return int(time.time() * 1000)


def run(settings: Settings, database: Database, life: Life) -> None:
    keeper = Keeper(settings, database, life.progress)
    log = get_log(stage="keeper")
    outage = Outage(log, "keeper")
    leadership = Leadership(database, keeper.keys.leader("keeper"))
    led = False
    while not life.stop.is_set():
        try:
            leading = leadership.hold()
            if leading != led:
                log.info("leading" if leading else "standing by")
                led = leading
            if leading:
                keeper.turn()
            outage.healed()
            life.unready("")
            life.fails("")
        except Exception as error:  # one duty's fault must not end the others'
            outage.broke(f"{type(error).__name__}: {error}")
            if passes(error):
                life.unready("redis")
            else:
                life.fails(f"{type(error).__name__}: {error}")
        life.progress()
        life.stop.wait(min(settings.keeper_interval_s, 1.0))
    try:
        leadership.resign()
    except (RedisError, OSError):
        log.warning("could not hand over the lead; it runs out by itself")
