"""Which contracts to subscribe when a connection may hold only so many quotes."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

CHANNELS = ("Q", "T", "A")
RECENTRE_MOVE = 0.005  # of spot; below it the ranking hardly changes, and every change costs subscriptions
_VOLATILITY = 0.15  # a year; only the ranking depends on it, and that hardly
_LEAST_DAYS = 0.5  # what is left of a day on which a contract expires


@dataclass(frozen=True, slots=True)
class Listed:
    """A contract of an active geometry. ``strike`` in dollars."""

    ticker: str
    expiration: date
    strike: float


@dataclass(frozen=True, slots=True)
class Board:
    """What one underlying lists, its spot in dollars (None: unknown) and its New York date."""

    contracts: Sequence[Listed]
    spot: float | None
    today: date


def choose(boards: Mapping[str, Board], limit: int) -> dict[str, list[str]]:
    """The tickers to subscribe of each underlying, best first, at most ``limit`` in all.

    Contracts are ranked by the gamma they would have at one flat volatility, because that is what the models are most
    sensitive to: ``phi(x) / (spot * sigma * sqrt(T))`` with ``x = ln(strike / spot) / (sigma * sqrt(T))``, the distance
    in expected moves. Near the money the near expirations come first; a strike two moves away in today's expiration
    comes after one at the money in a month. Underlyings take turns, so none starves another and what one does not use
    the others get. Without a spot the middle strike of the first expiration stands in for it.
    """
    ranked = {symbol: _rank(board) for symbol, board in boards.items()}
    chosen: dict[str, list[str]] = {symbol: [] for symbol in boards}
    left = limit
    for position in range(max(map(len, ranked.values()), default=0)):
        for symbol, tickers in ranked.items():
            if left > 0 and position < len(tickers):
                chosen[symbol].append(tickers[position])
                left -= 1
    return chosen


def topics_of(tickers: Sequence[str]) -> frozenset[str]:
    """Quotes, trades and per-second sums of each."""
    return frozenset(f"{channel}.{ticker}" for ticker in tickers for channel in CHANNELS)


def _rank(board: Board) -> list[str]:
    alive = [contract for contract in board.contracts if contract.expiration >= board.today and contract.strike > 0]
    if not alive:
        return []
    spot = board.spot or _middle_strike(alive)

    def order(contract: Listed) -> tuple[float, str]:
        years = max((contract.expiration - board.today).days, _LEAST_DAYS) / 365
        moves = math.log(contract.strike / spot) / (_VOLATILITY * math.sqrt(years))
        return moves * moves / 2 + math.log(years) / 2, contract.ticker  # minus the logarithm of that gamma

    return [contract.ticker for contract in sorted(alive, key=order)]


def _middle_strike(contracts: Sequence[Listed]) -> float:
    first = min(contract.expiration for contract in contracts)
    strikes = sorted(contract.strike for contract in contracts if contract.expiration == first)
    return strikes[len(strikes) // 2]
