"""Verification (G7b): every version published in a window is made again from the record, and compared byte for byte.

The recorded commits are applied one by one, in their order, by the stages' own code and scripts, in a namespace of the
replay's. A version names the commit each of its panes was computed at, and the one its facts were read at: at these
commits the panes are computed anew from their contracts, and what was published follows from them alone.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import orjson
from numpy.typing import NDArray
from walrus import Database

from consumers.hydrate import HydrateStage
from consumers.normalize import Begun, NormalizeStage
from pipeline.claim import pane_values, read_pane
from pipeline.entry import Entry
from pipeline.epochs import Epoch, Epochs, tell_feed
from pipeline.errors import Gone, NotYet, Poison
from pipeline.keys import Keys
from pipeline.models.exposure import PaneExposure
from pipeline.models.pane import PaneModel
from pipeline.publication import (
    FACTS,
    HEATMAP,
    MODELS,
    SURFACE,
    VIEWS,
    Edition,
    Facts,
    Layouts,
    Publication,
    next_derived,
    next_surface,
)
from pipeline.replay.namespace import load, write
from pipeline.replay.window import Commit, Row, Window
from pipeline.scripts import Scripts
from pipeline.settings import Settings
from pipeline.tiles import Claimed, Tiles, compute

CONSUMER = "verify"
HEADER = "header"
DERIVED = "derived"
_READ = 1000


@dataclass(frozen=True, slots=True)
class Version:
    """One version of one document as live announced it. ``seqs``: the commit of each pane it names; of a heatmap the
    tiles', its heads' are ``greeks``."""

    id: str
    model: str
    kind: str
    base: int
    version: int
    epoch: str
    header: int
    seqs: dict[str, int]
    greeks: dict[str, int]
    payload: bytes | None

    @classmethod
    def read(cls, row: Row) -> "Version":
        seqs: dict[str, int] = orjson.loads(row.fields[b"seq"])
        return cls(
            row.id, row.text("model"), row.text("kind"), int(row.text("base")), int(row.text("version")),
            row.text("epoch"), seqs.pop(HEADER), seqs, orjson.loads(row.fields.get(b"greeks") or b"{}"),
            row.fields.get(b"payload"),
        )

    @property
    def rests_on(self) -> set[tuple[str, int]]:
        """Panes, and the commits they were computed at."""
        return {*self.seqs.items(), *self.greeks.items()}


@dataclass(frozen=True, slots=True)
class Turn:
    """Versions that were published together."""

    versions: list[Version]

    @property
    def epoch(self) -> str:
        return self.versions[0].epoch

    @property
    def header(self) -> int:
        return self.versions[0].header

    @property
    def last(self) -> int:
        """The commit after which all of it can be made."""
        return max([self.header, *(seq for _, seq in self.rests_on)])

    @property
    def full(self) -> bool:
        return any(version.kind == "full" and version.model not in FACTS for version in self.versions)

    @property
    def rests_on(self) -> set[tuple[str, int]]:
        return set().union(*(version.rests_on for version in self.versions))

    @property
    def surface(self) -> Version | None:
        """The heatmap it published."""
        return next((version for version in self.versions if version.model == HEATMAP), None)

    @property
    def exposures(self) -> dict[str, int] | None:
        """The exposures that its other documents took up, by pane; None: it published no others."""
        others = [version for version in self.versions if version.model not in SURFACE]
        return {pane: seq for version in others for pane, seq in version.seqs.items()} if others else None


@dataclass(frozen=True, slots=True)
class Difference:
    """A version that is not what live published; ``made`` None: nothing new was to be published."""

    version: Version
    made: bytes | None
    published: bytes


@dataclass(slots=True)
class Report:
    """``versions`` were compared; ``early`` rest on commits before the record, ``lost`` have no payload any more.
    ``unlike`` are commits that changed something live and nothing here, or the other way round."""

    versions: int = 0
    early: int = 0
    lost: int = 0
    commits: int = 0
    unlike: list[Commit] = field(default_factory=list)
    differences: int = 0
    first: Difference | None = None
    stopped_at: int | None = None

    @property
    def total_differences(self) -> int:
        return self.differences + len(self.unlike)


@dataclass(frozen=True, slots=True)
class _Held:
    """A pane as it was computed last, and from what."""

    seq: int
    values: NDArray[np.float64]
    spot: bytes
    tiles: Tiles


class Verification:
    """Made for one window and an empty namespace; ``run`` once."""

    def __init__(self, window: Window, settings: Settings, database: Database) -> None:
        """``settings`` are those of the replay's namespace."""
        self.report = Report()
        self.turns = turns_of(window.versions)
        self._window = window
        self._database = database
        self._keys = Keys(settings.layout, settings.namespace)
        self._scripts = Scripts(database)
        self._epochs = Epochs(database, self._keys)
        self._normalize = NormalizeStage(settings, database)
        self._hydrate = HydrateStage(settings, database)
        self._rows = {noun: window.by_ids(noun) for noun in ("ws", "spot", "chain")}
        self._begun: dict[str, Begun] = {}
        self._exact_from = window.unpacked_frame().newest_seq if window.frame is not None else 0
        self._wanted: dict[int, set[tuple[str, str]]] = defaultdict(set)
        self._facts_at: set[int] = set()
        for turn in self.turns:
            self._facts_at.add(turn.header)
            for pane, seq in turn.rests_on:
                self._wanted[seq].add((turn.epoch, pane))
        self._held: dict[tuple[str, str], _Held] = {}
        self._tiles: dict[tuple[str, str, int], Tiles] = {}
        self._facts: dict[int, Facts] = {}
        self._fold = Fold()

    def run(self, on_commit: Callable[[Commit], None] = lambda commit: None, stop_at: int | None = None) -> Report:
        """Apply every commit and compare every version that can be made after it; up to heatmap version ``stop_at``."""
        self._prepare()
        turns = iter(self.turns)
        waiting: Turn | None = next(turns, None)
        self._look(self._window.commits[0].seq - 1 if self._window.commits else self._exact_from)
        seq = 0
        for commit in self._window.commits:
            self._apply(commit)
            seq = commit.seq
            self._look(seq)
            while waiting is not None and waiting.last <= seq:
                self._compare(waiting)
                if stop_at is not None and self._fold.editions[HEATMAP].version >= stop_at:
                    self.report.stopped_at = self._fold.editions[HEATMAP].version
                    return self.report
                waiting = next(turns, None)
            self.report.commits += 1
            on_commit(commit)
        return self.report

    # --- the record ---
    def _prepare(self) -> None:
        """The namespace as the base says, every entry in its stream and in our hands."""
        window, keys, symbol = self._window, self._keys, self._window.symbol
        load(self._database, keys, window)
        for noun, group, rows in (("chain", "normalize", window.chains), ("ws", "hydrate", window.ws),
                                  ("spot", "hydrate", window.spots)):
            stream = keys.stream(noun, symbol)
            self._database.xgroup_create(stream, group, id="0", mkstream=True)
            write(self._database, stream, rows)
            while self._database.xreadgroup(group, CONSUMER, {stream: ">"}, count=_READ):
                pass

    def _apply(self, commit: Commit) -> None:
        """What a commit did live, by the same code, alone and at its number."""
        sequence = self._keys.sequence(self._window.symbol)
        self._database.set(sequence, commit.seq - 1)
        try:
            self._do(commit)
        except (Gone, NotYet, Poison):  # live, it was done
            pass
        if int(self._database.get(sequence)) != commit.seq and commit.seq > self._exact_from:
            self.report.unlike.append(commit)

    def _do(self, commit: Commit) -> None:
        entries = [
            Entry(self._keys.stream(commit.stream, self._window.symbol), row.id, row.fields)
            for row in self._rows[commit.stream].of(commit.ranges)
        ] if commit.stream else []
        match commit.kind:
            case "hydrate" | "spot":
                self._hydrate.commit(entries, CONSUMER)
            case "stage":
                self._normalize.stage_chunk(self._chain(entries[0]), CONSUMER, int(commit.part))
            case "promote":
                self._normalize.promote(self._chain(entries[0]), CONSUMER)
            case "refresh":
                self._normalize.refresh_chunk(self._chain(entries[0]), CONSUMER, int(commit.part))
            case _:
                tell_feed(
                    self._scripts, self._keys, self._window.symbol, commit.epoch, commit.kind, commit.ts
                )

    def _chain(self, entry: Entry) -> Begun:
        """A chain, begun when the first of its commits comes. Those before it that nobody finished are put away."""
        begun = self._begun.get(entry.id)
        if begun is None:
            older = self._database.xpending_range(entry.stream, "normalize", "-", f"({entry.id}", _READ)
            if older:
                self._database.xack(entry.stream, "normalize", *(row["message_id"] for row in older))
            begun = self._begun[entry.id] = self._normalize.begin(entry, CONSUMER)
        return begun

    # --- what versions rest on ---
    def _look(self, seq: int) -> None:
        """Compute what was computed live at this commit, and read what was read."""
        if seq < self._exact_from:
            return
        for epoch_id, pane in sorted(self._wanted.pop(seq, ())):
            epoch = self._epochs.get(epoch_id)
            if epoch is not None and pane in epoch.panes:
                self._tiles[epoch_id, pane, seq] = self._compute(epoch, pane, seq)
        if seq in self._facts_at:
            self._facts[seq] = self._read_facts()

    def _compute(self, epoch: Epoch, name: str, seq: int) -> Tiles:
        pane = epoch.panes[name]
        values = read_pane(self._scripts, self._keys, epoch.id, pane).values
        spot = self._database.get(self._keys.spot(epoch.symbol)) or b""
        held = self._held.get((epoch.id, name))
        model, dirty = None, None
        if held is not None:
            changed = ~((values == held.values) | (np.isnan(values) & np.isnan(held.values)))
            model, dirty = held.tiles.model, changed.any(axis=0)
        of_pane = pane_values(values, spot, epoch.snapshot_ts, epoch.rate)
        tiles = compute([Claimed(pane.geometry, of_pane, model, dirty)])[0]
        self._held[epoch.id, name] = _Held(seq, values, spot, tiles)
        return tiles

    def _read_facts(self) -> Facts:
        keys, symbol = self._keys, self._window.symbol
        active = (self._database.hget(keys.epoch_active(symbol), symbol) or b"").decode()
        return Facts.read(
            self._database.get(keys.spot(symbol)) or b"", self._database.hget(keys.clock(symbol), "quotes") or b"0",
            self._database.zrange(keys.spot_trail(symbol), 0, -1), self._database.hgetall(keys.epoch_meta(active)),
        )

    # --- versions ---
    def _compare(self, turn: Turn) -> None:
        epoch = self._epochs.get(turn.epoch)
        facts = self._facts.get(turn.header)
        if epoch is None or facts is None:
            self._fold.skip(turn)
            self.report.early += len(turn.versions)
            return
        tiles = {(pane, seq): held for pane, seq in turn.rests_on if (held := self._tiles.get((turn.epoch, pane, seq)))}
        made = self._fold.publish(epoch, turn, facts, tiles)
        for version in turn.versions:
            if version.model not in made:
                self.report.early += 1
            elif version.payload is None:
                self.report.lost += 1
            else:
                self._judge(version, made[version.model])
        self._forget(turn)

    def _judge(self, version: Version, made: Publication | None) -> None:
        self.report.versions += 1
        published = version.payload or b""
        same = made is not None and made.payload == published and (made.kind, made.base, made.version) == (
            version.kind, version.base, version.version
        )
        if not same:
            self.report.differences += 1
            if self.report.first is None:
                self.report.first = Difference(version, made.payload if made else None, published)

    def store_documents(self) -> None:
        """Leave the documents as they were after the last version compared, for who wants to look at them."""
        for model, document in self._fold.documents().items():
            self._database.set(self._keys.model(model, self._window.symbol), document)

    def epoch(self, epoch_id: str) -> Epoch | None:
        return self._epochs.get(epoch_id)

    def _forget(self, turn: Turn) -> None:
        """Turns come in their order, tiles and greeks each for themselves: what is older than the last of both that was
        named of a pane is not named again."""
        if turn.surface is None:
            return
        for pane, seq in turn.surface.seqs.items():
            oldest = min(seq, turn.surface.greeks.get(pane, seq))
            for key in [key for key in self._tiles if key[:2] == (turn.epoch, pane) and key[2] < oldest]:
                del self._tiles[key]


class Fold:
    """What was last published, turn after turn. A document is known once every pane of it was named, and from the turn
    on that published it then."""

    def __init__(self) -> None:
        self.editions: dict[str, Edition] = {model: Edition() for model in MODELS}
        self.layouts: Layouts | None = None
        self._panes: dict[str, PaneModel] = {}
        self._exposures: dict[str, PaneExposure] = {}
        self._minute = b""
        self._whole: set[str] = set()  # HEATMAP, and DERIVED for the documents that rest on greeks
        self._numbered: set[str] = set()  # documents whose version is known

    def skip(self, turn: Turn) -> None:
        """A turn of which nothing is known."""
        self._lose()
        self._note_versions(turn.versions)

    def publish(
        self, epoch: Epoch, turn: Turn, facts: Facts, tiles: dict[tuple[str, int], Tiles]
    ) -> dict[str, Publication | None]:
        """What a turn publishes, by model: of its versions those that can be told, None where there is nothing new.
        ``tiles``: panes at the commits that the turn names, those of them that are known."""
        if self.layouts is None or self.layouts.epoch.id != epoch.id:
            self.layouts = Layouts(epoch)
            self._lose()
        made: dict[str, Publication | None] = {}
        if turn.surface is not None:
            made |= self._publish_surface(self.layouts, turn, turn.surface, facts, tiles)
        if turn.exposures is not None:
            made |= self._publish_derived(self.layouts, turn, turn.exposures, facts, tiles)
        self._note_versions([version for version in turn.versions if version.model not in made])
        return made

    def _publish_surface(
        self, layouts: Layouts, turn: Turn, version: Version, facts: Facts, tiles: dict[tuple[str, int], Tiles]
    ) -> dict[str, Publication | None]:
        for pane, seq in version.seqs.items():
            held, under = tiles.get((pane, seq)), tiles.get((pane, version.greeks[pane]))
            if held is None or under is None:  # at a commit before the record
                self._panes.pop(pane, None)
            else:
                self._panes[pane] = replace(under.model, grids=held.model.grids)
        if self._panes.keys() != layouts.epoch.panes.keys():
            self._whole.discard(HEATMAP)
            return {}
        first = HEATMAP not in self._whole and not turn.full
        shown = [pane for pane in layouts.epoch.panes if first or pane in version.seqs]
        self._take_base([version])
        made = next_surface(
            layouts, {pane: self._panes[pane] for pane in shown}, self.editions, facts, first or turn.full
        )
        return self._taken(HEATMAP, first, [version], made)

    def _publish_derived(
        self, layouts: Layouts, turn: Turn, exposures: dict[str, int], facts: Facts,
        tiles: dict[tuple[str, int], Tiles],
    ) -> dict[str, Publication | None]:
        for pane, seq in exposures.items():
            held = tiles.get((pane, seq))
            if held is None:
                self._exposures.pop(pane, None)
            else:
                self._exposures[pane] = held.exposure
        if HEATMAP not in self._whole or self._exposures.keys() != layouts.epoch.panes.keys():
            self._whole.discard(DERIVED)
            return {}
        versions = [version for version in turn.versions if version.model not in SURFACE]
        first = DERIVED not in self._whole and not turn.full
        self._take_base(versions)
        publications = next_derived(
            layouts, self._exposures, self.editions[HEATMAP].heads, set(layouts.epoch.panes), self.editions, facts,
            self._minute, first or turn.full,
        )
        self._minute = publications.minute
        return self._taken(DERIVED, first, versions, publications.made)

    def _taken(
        self, what: str, first: bool, versions: list[Version], publications: list[Publication]
    ) -> dict[str, Publication | None]:
        """Take note of what was made. The ``first`` time it is against documents that are not known: nothing can be
        told of these versions themselves, but of all that come after them."""
        self._whole.add(what)
        made = {publication.model: publication for publication in publications}
        if first:
            for model, publication in made.items():
                publication.edition.version = self.editions[model].version
                self.editions[model] = publication.edition
            return {}
        announced = {version.model for version in versions}
        self._numbered |= announced
        of = announced | set(VIEWS) if HEATMAP in announced else announced
        self.editions.update((model, publication.edition) for model, publication in made.items() if model in of)
        return {model: made.get(model) for model in announced}

    def documents(self) -> dict[str, bytes]:
        """Every document as it was last published, whole. Nothing before the fold is whole."""
        if self.layouts is None or self._whole != {HEATMAP, DERIVED}:
            return {}
        found = {}
        for model, edition in self.editions.items():
            if model in FACTS:
                found[model] = orjson.dumps(edition.header)
                continue
            cells = edition.cells
            if model in VIEWS:
                shown = self.layouts.cells_of[model]
                cells = {pane: of[slice(*shown[pane])] for pane, of in cells.items()}
            found[model] = self.layouts.of[model].render(edition.header, edition.heads, cells)
        return found

    def _take_base(self, versions: list[Version]) -> None:
        for version in versions:
            if version.model not in self._numbered:
                self.editions[version.model].version = version.base

    def _lose(self) -> None:
        self._whole.clear()
        self._panes.clear()
        self._exposures.clear()

    def _note_versions(self, versions: list[Version]) -> None:
        for version in versions:
            self.editions[version.model].version = version.version
            self._numbered.add(version.model)


def turns_of(rows: list[Row]) -> list[Turn]:
    """Versions by the turn that published them, in their order."""
    turns: dict[str, list[Version]] = {}
    for row in rows:
        turns.setdefault(row.text("publication"), []).append(Version.read(row))
    return [Turn(versions) for versions in turns.values()]
