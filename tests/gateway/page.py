"""What a browser's page does with the stream, by the contract alone: parses events, holds documents, counts faults."""

import zlib
from collections import Counter
from typing import Any

import orjson

from pipeline.models.documents import apply_diff

DOCUMENTS = ("heatmap", "gex", "gex_calls", "gex_puts", "market_mode", "liquidity_intent", "dealer_gravity")


class Page:
    """Fed with the bytes of one response after another; ``last_id`` is what EventSource would hand back."""

    def __init__(self) -> None:
        self.last_id = ""
        self.documents: dict[tuple[str, str], dict[str, Any]] = {}
        self.versions: dict[tuple[str, str], list[int]] = {}
        """Every version that was shown, in order."""
        self.others: list[tuple[str, dict[str, Any]]] = []
        self.counts: Counter[str] = Counter()
        self.resets: list[dict[str, Any]] = []
        self._text = b""

    def connected(self) -> None:
        """Another response begins: what was left of the last one is no event."""
        self._text = b""

    def feed(self, text: bytes) -> None:
        self._text += text
        *blocks, self._text = self._text.split(b"\n\n")
        for block in blocks:
            self._block(block)

    def _block(self, block: bytes) -> None:
        name, payload = "message", b""
        for line in block.split(b"\n"):
            field, _, value = line.partition(b": ")
            if field == b"event":
                name = value.decode()
            elif field == b"data":
                assert not payload, "an event's data are one line"
                payload = value
            elif field == b"id":
                self.last_id = value.decode()
        if payload:
            self._event(name, orjson.loads(payload))

    def _event(self, name: str, told: dict[str, Any]) -> None:
        self.counts[name] += 1
        if name == "reset":
            self.resets.append(told)
            for key in [(symbol, model) for symbol in told["symbols"] for model in told["models"]]:
                self.documents.pop(key, None)
            return
        if "kind" not in told:
            self.others.append((name, told))
            return
        key = told["symbol"], told["model"]
        document, held = told["document"], self.documents.get(key)
        assert name == (told["model"] if told["kind"] == "full" else f"{told['model']}_diff")
        assert document["version"] == told["version"]
        if held is not None and told["version"] <= held["version"]:
            self.counts["repeated"] += 1
            return
        if told["kind"] == "diff":
            assert held is not None, f"a diff of {key} before any document"
            assert held["version"] == told["base"], f"{key}: shown is {held['version']}, the diff is of {told['base']}"
            document = apply_diff(held, document)
        self.documents[key] = document
        self.versions.setdefault(key, []).append(told["version"])


class Inflated:
    """Takes a response's body as it comes over the wire and gives its text, compressed or not."""

    def __init__(self, gzip: bool) -> None:
        self._inflate = zlib.decompressobj(zlib.MAX_WBITS | 16) if gzip else None

    def take(self, piece: bytes) -> bytes:
        return piece if self._inflate is None else self._inflate.decompress(piece)
