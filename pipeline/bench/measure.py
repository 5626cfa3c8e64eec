"""Figures, ratios and goals. A figure is a sample over repeats; a ratio is taken pair by pair, repeat by repeat.

A machine's speed drifts with its heat and its neighbours. What is measured and its yardstick therefore take turns
(A B A B ...), and each A is divided by the B that ran beside it.
"""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field


class BenchError(RuntimeError):
    """A benchmark that cannot be run or whose work was not done; one line."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The values of one figure over repeats, in the order in which they were measured."""

    values: tuple[float, ...]
    unit: str = ""

    def __post_init__(self) -> None:
        if not self.values or not all(math.isfinite(value) for value in self.values):
            raise ValueError(f"no sample: {self.values!r}")

    @property
    def min(self) -> float:
        return min(self.values)

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def max(self) -> float:
        return max(self.values)

    def record(self) -> dict[str, float]:
        return {"min": self.min, "median": self.median, "max": self.max}


@dataclass(frozen=True, slots=True)
class Goal:
    """What the median of a ratio must reach: one of the two."""

    at_least: float | None = None
    at_most: float | None = None

    def __post_init__(self) -> None:
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError("a goal is either a least or a most")

    def met_by(self, value: float) -> bool:
        return value >= self.at_least if self.at_least is not None else value <= (self.at_most or 0.0)

    def __str__(self) -> str:
        return f"≥ {self.at_least:g}" if self.at_least is not None else f"≤ {self.at_most:g}"


@dataclass(frozen=True, slots=True)
class Result:
    """What a benchmark found. ``pairs`` says of a ratio which two figures it is of, (measured, yardstick), where it is
    of two; ``notes`` is what a reader must know, such as a yardstick that is not installed."""

    name: str
    figures: Mapping[str, Sample]
    ratios: Mapping[str, Sample]
    pairs: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def record(self) -> dict[str, object]:
        """As `--json` prints it."""
        return {
            "name": self.name,
            "figures": {
                name: {**sample.record(), "unit": sample.unit} if sample.unit else sample.record()
                for name, sample in self.figures.items()
            },
            "ratios": {key: sample.record() for key, sample in self.ratios.items()},
            **({"notes": list(self.notes)} if self.notes else {}),
        }


def take_turns(repeats: int, measures: Mapping[str, Callable[[], float]], unit: str = "") -> dict[str, Sample]:
    """Measure each once, ``repeats`` times round: the figures by name, value n of each from round n."""
    values: dict[str, list[float]] = {name: [] for name in measures}
    for _ in range(repeats):
        for name, measure in measures.items():
            values[name].append(measure())
    return {name: Sample(tuple(of), unit) for name, of in values.items()}


def ratio(measured: Sample, yardstick: Sample) -> Sample:
    """Pair by pair: of the same round each."""
    return Sample(tuple(a / b for a, b in zip(measured.values, yardstick.values, strict=True)))


def best_of(samples: Sequence[Sample]) -> Sample:
    """The greatest of each round: what the best yardstick of several did."""
    return Sample(tuple(max(of) for of in zip(*(sample.values for sample in samples), strict=True)), samples[0].unit)
