"""Every Redis key, one function each. No key name is spelled anywhere else, the Lua scripts included.

Two layouts: ``flat`` (one Redis: names exactly as written here) and ``tagged`` (Redis Cluster: the same names behind
``{SPX}:``, so that whatever one script touches shares a slot). A namespace keeps a replay apart from what is live.
"""

from dataclasses import dataclass
from typing import Literal

from pipeline.registers import REGISTERS

STREAM_NOUNS = ("chain_jobs", "chain", "ws", "spot", "dirty", "diff", "commit", "model", "epoch")
"""Streams of one underlying; in the flat layout all underlyings share each of them."""


@dataclass(frozen=True, slots=True)
class Keys:
    layout: Literal["flat", "tagged"] = "flat"
    namespace: str = ""

    def _of(self, symbol: str, name: str) -> str:
        """A key of one underlying that both layouts spell with its tag or without."""
        tag = f"{{{symbol}}}:" if self.layout == "tagged" else ""
        return f"{self.namespace}{tag}{name}"

    def _of_epoch(self, epoch: str, name: str) -> str:
        return self._of(epoch.split(":", 1)[0], f"epoch:{epoch}:{name}")

    def _shared(self, name: str) -> str:
        """A key that belongs to no underlying; no script that writes an underlying touches it."""
        return f"{self.namespace}{name}"

    # --- streams ---
    def stream(self, noun: str, symbol: str) -> str:
        """The stream of a noun in STREAM_NOUNS that this underlying uses."""
        if noun not in STREAM_NOUNS:
            raise KeyError(noun)
        name = "massive:chain:jobs" if noun == "chain_jobs" else f"massive:{noun}:stream"
        return self._of(symbol, name)

    def streams(self, noun: str, symbols: tuple[str, ...]) -> list[str]:
        """The distinct streams of a noun over several underlyings: one when flat, one each when tagged."""
        return list(dict.fromkeys(self.stream(noun, symbol) for symbol in symbols))

    def dead(self) -> str:
        """Letters to nobody. In the tagged layout every underlying has its own, in its slot: see dead_of."""
        return self._shared("massive:dead")

    def dead_of(self, stream: str) -> str:
        """The dead-letter stream in the slot of a stream key (burial and acknowledgement are one call)."""
        body = stream.removeprefix(self.namespace)
        tag = body[: body.index("}:") + 2] if self.layout == "tagged" and body.startswith("{") else ""
        return f"{self.namespace}{tag}massive:dead"

    # --- chain ---
    def chain_schedule(self, symbol: str) -> str:
        return self._of(symbol, "massive:chain:schedule")

    def chain_job(self, symbol: str) -> str:
        """HASH: the job under way (id, deadline_ms) and the one somebody wants next (wanted, force)."""
        return self._of(symbol, f"massive:chain:job:{symbol}")

    def chain_snapshot(self, symbol: str, expiration: str, ts: int | str) -> str:
        return self._of(symbol, f"massive:chain:snapshot:{symbol}:{expiration}:{ts}")

    def subscriptions(self, symbol: str) -> str:
        return self._of(symbol, f"massive:ws:subscriptions:{symbol}")

    def flow_delta(self, symbol: str) -> str:
        """HASH second (ms) -> dollars: what signed trades did to the dealers' delta."""
        return self._of(symbol, f"massive:flow_delta:{symbol}")

    # --- spot and time ---
    def spot(self, symbol: str) -> str:
        return self._of(symbol, f"massive:model:spot:{symbol}")

    def spot_trail(self, symbol: str) -> str:
        return self.spot(symbol) + ":trail"

    def clock(self, symbol: str) -> str:
        """HASH: newest provider minute of quotes and of spot; documents date themselves by it."""
        return self._of(symbol, f"massive:clock:{symbol}")

    def sequence(self, symbol: str) -> str:
        """The number of the last commit of an underlying."""
        return self._of(symbol, f"massive:commit:seq:{symbol}")

    # --- epochs ---
    def epoch_active(self, symbol: str) -> str:
        return self._of(symbol, "epoch:active")

    def epoch_staging(self, symbol: str) -> str:
        return self._of(symbol, "epoch:staging")

    def epoch_retiring(self, symbol: str) -> str:
        return self._of(symbol, "epoch:retiring")

    def epoch_dirty(self, symbol: str) -> str:
        return self._of(symbol, "epoch:dirty")

    def epoch_clean(self, symbol: str) -> str:
        return self._of(symbol, "epoch:clean")

    def epoch_timeline(self, symbol: str) -> str:
        return self._of(symbol, f"epoch:timeline:{symbol}")

    def epoch_meta(self, epoch: str) -> str:
        return self._of(epoch.split(":", 1)[0], f"epoch:meta:{epoch}")

    def registers(self, epoch: str, pane: str = "") -> dict[str, str]:
        """HASHes of a pane, by kind of register: ticker -> what the contract is worth (``pipeline.registers``). Without
        a pane they are prefixes to which a script adds one.

        One hash for many contracts, because a batch is then read and written in two commands a pane instead of two a
        contract, a third of the server's time.
        """
        return {kind: self._of_epoch(epoch, f"{kind}:{pane}") for kind in REGISTERS}

    def geometry(self, epoch: str) -> str:
        return self._of_epoch(epoch, "geometry")

    def staged(self, epoch: str) -> str:
        return self._of_epoch(epoch, "staged")

    def dirty_panes(self, epoch: str) -> str:
        """SET of the panes of an epoch that are marked or being computed."""
        return self._of_epoch(epoch, "dirty")

    def queued(self, epoch: str) -> str:
        """HASH pane -> the dirty entry that will compute it and the oldest event behind its marks."""
        return self._of_epoch(epoch, "queued")

    def owed(self, epoch: str) -> str:
        """HASH pane -> the entry that will compute its greeks, while its tiles alone are current."""
        return self._of_epoch(epoch, "owed")

    def dirty(self, epoch: str, pane: str) -> str:
        return self._of_epoch(epoch, f"dirty:{pane}")

    def lease(self, epoch: str, pane: str) -> str:
        return self._of_epoch(epoch, f"lease:{pane}")

    def tiles(self, epoch: str, pane: str) -> str:
        return self._of_epoch(epoch, f"tiles:{pane}")

    def grids(self, epoch: str, pane: str) -> str:
        """STRING: every tile of a pane, in one row of numbers."""
        return self._of_epoch(epoch, f"grids:{pane}")

    # --- models ---
    def models_dirty(self, symbol: str) -> str:
        return self._of(symbol, f"massive:models:dirty:{symbol}")

    def models_lease(self, symbol: str) -> str:
        return self._of(symbol, f"massive:models:lease:{symbol}")

    def models_state(self, symbol: str) -> str:
        """HASH: epoch and version of each published document, and the diff entry that will publish next."""
        return self._of(symbol, f"massive:models:state:{symbol}")

    def model(self, name: str, symbol: str) -> str:
        """A published document. The sides of ``gex`` and the views of ``heatmap`` hang off the whole model."""
        base, _, part = name.partition("_") if name.startswith(("gex_", "heatmap_")) else (name, "", "")
        return self._of(symbol, f"massive:{base}:model:{symbol}" + (f":{part}" if part else ""))

    def gravity_minutes(self, symbol: str) -> str:
        """ZSET of Dealer Gravity's final minutes."""
        return self._of(symbol, f"massive:dealer_gravity:{symbol}:minutes")

    def names(self, symbol: str, epoch: str) -> dict[str, str]:
        """What scripts that mark, note and publish are told: keys of the underlying, and of one of its epochs.

        Those of registers, ``dirty``, ``lease``, ``tiles`` and ``grids`` are prefixes to which a script adds a pane.
        """
        return {
            "active": self.epoch_active(symbol),
            "staging": self.epoch_staging(symbol),
            "epoch_dirty": self.epoch_dirty(symbol),
            "epoch_clean": self.epoch_clean(symbol),
            "meta": self.epoch_meta(epoch),
            "geometry": self.geometry(epoch),
            **self.registers(epoch),
            "dirty": self.dirty(epoch, ""),
            "lease": self.lease(epoch, ""),
            "tiles": self.tiles(epoch, ""),
            "grids": self.grids(epoch, ""),
            "queued": self.queued(epoch),
            "owed": self.owed(epoch),
            "dirty_panes": self.dirty_panes(epoch),
            "dirty_stream": self.stream("dirty", symbol),
            "diffs": self.stream("diff", symbol),
            "commits": self.stream("commit", symbol),
            "sequence": self.sequence(symbol),
            "spot": self.spot(symbol),
            "spot_trail": self.spot_trail(symbol),
            "clock": self.clock(symbol),
            "flow_delta": self.flow_delta(symbol),
            "models_dirty": self.models_dirty(symbol),
            "models_lease": self.models_lease(symbol),
            "models_state": self.models_state(symbol),
        }

    def model_fresh(self, name: str, symbol: str, token: str) -> str:
        """Where a full document is written before its publication puts it in place; short-lived."""
        return f"{self.model(name, symbol)}:fresh:{token}"

    def model_payload(self, name: str, symbol: str, token: str) -> str:
        """A payload too large for an entry of the model stream; short-lived."""
        return f"{self.model(name, symbol)}:payload:{token}"

    # --- what reads the models ---
    def vigil_events(self, symbol: str) -> str:
        return self._of(symbol, "vigil:events")

    def vigil_state(self, symbol: str) -> str:
        """HASH: what was folded from each stream, and the id of the last entry in it."""
        return self._of(symbol, f"vigil:state:{symbol}")

    def vexy_intel(self, symbol: str) -> str:
        return self._of(symbol, f"vexy:intel:{symbol}")

    def vexy_history(self, symbol: str) -> str:
        return self._of(symbol, "vexy:intel:stream")

    def vexy_state(self, symbol: str) -> str:
        """HASH: what was folded from the models, and the id of the last entry in it."""
        return self._of(symbol, f"vexy:state:{symbol}")

    # --- keeping ---
    def analytics(self, source: str, symbol: str = "") -> str:
        """Counters of a source. A script that counts needs them in its underlying's slot, hence the symbol."""
        return self._of(symbol, f"massive:{source}:analytics")

    def latency(self, source: str, symbol: str = "") -> str:
        return self.analytics(source, symbol) + ":latency"

    def workers(self) -> str:
        return self._shared("massive:workers")

    def leader(self, role: str) -> str:
        """The lock of a role that one process plays at a time: keeper, or a socket's path."""
        return self._shared(f"massive:leader:{role}")

    def snapshot(self, symbol: str, ts: int) -> str:
        """A base frame the keeper took: the hydrated state with its sequence."""
        return self._of(symbol, f"massive:keeper:snapshot:{symbol}:{ts}")

    def snapshots(self, symbol: str) -> str:
        """ZSET: when base frames were taken."""
        return self._of(symbol, f"massive:keeper:snapshots:{symbol}")

    # --- replays: beside live, whatever its namespace ---
    @staticmethod
    def replays() -> str:
        """SET of the names of replays."""
        return "replays"

    @staticmethod
    def replay_namespace(name: str) -> str:
        return f"replay:{name}:"

    @staticmethod
    def replay_about(name: str) -> str:
        """HASH: what a replay is, and how far it has come."""
        return f"replay:{name}:about"
