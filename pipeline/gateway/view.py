"""The part of a document that a client asked for: panes, and of the heatmap strategies."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.models.strategies import STRATEGIES

_PANE = re.compile(r"\d{4}-\d\d-\d\d(:[A-Z0-9]{1,10})?", re.ASCII)
_PANES_MAX = 64
_BY_PANE = {"heatmap": "panes", "gex_calls": "expirations", "gex_puts": "expirations"}


@dataclass(frozen=True, slots=True)
class View:
    """``panes`` by name, or by date for every root of it; empty: all of them. So with ``strategies``."""

    panes: frozenset[str] = frozenset()
    strategies: frozenset[str] = frozenset()

    @staticmethod
    def of(panes: tuple[str, ...], strategies: tuple[str, ...]) -> "View":
        """Raises ValueError for what cannot be one."""
        for pane in panes:
            if not _PANE.fullmatch(pane):
                raise ValueError(f"panes: {pane[:40]!r} is not YYYY-MM-DD:ROOT or YYYY-MM-DD")
        if len(panes) > _PANES_MAX:
            raise ValueError(f"panes: {len(panes)} of them, at most {_PANES_MAX}")
        for strategy in strategies:
            if strategy not in STRATEGIES:
                raise ValueError(f"strategies: there is no {strategy[:40]!r}; there are {', '.join(STRATEGIES)}")
        chosen = frozenset(strategies)
        return View(frozenset(panes), frozenset() if chosen == frozenset(STRATEGIES) else chosen)

    @staticmethod
    def applies_to(model: str) -> bool:
        return model in _BY_PANE

    def narrow(self, model: str, document: Mapping[str, Any]) -> dict[str, Any]:
        """Of a document or a diff: header and version stay, so that a client still sees that it missed nothing."""
        narrowed = dict(document)
        for member in {_BY_PANE[model], "panes", "heads"} & narrowed.keys():
            narrowed[member] = {pane: body for pane, body in document[member].items() if self._has(pane)}
        if model == "heatmap" and self.strategies and "panes" in narrowed:
            narrowed["panes"] = {pane: self._of_strategies(body) for pane, body in narrowed["panes"].items()}
        return narrowed

    def _has(self, pane: str) -> bool:
        return not self.panes or pane in self.panes or pane.partition(":")[0] in self.panes

    def _of_strategies(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Members are strategies in a document, ``strategy:side:pricing`` in a diff; others are facts of the pane."""
        return {
            name: value for name, value in body.items()
            if (strategy := name.partition(":")[0]) not in STRATEGIES or strategy in self.strategies
        }


WHOLE = View()
