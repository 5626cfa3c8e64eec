"""One peer's side of a measurement, in a process of its own."""

import importlib
import sys

from pipeline import tether


def main(peer: str, part: str, url: str, entries: str = "0") -> None:
    tether.hold(1.0)
    module = importlib.import_module(f"pipeline.bench.peers.{peer}")
    if part == "fill":
        module.fill(url, int(entries))
    else:
        module.work(url)


if __name__ == "__main__":
    main(*sys.argv[1:])
