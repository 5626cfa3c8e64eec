"""Which contracts get the quotes: a ranking, shared fairly."""

from datetime import date, timedelta

from hypothesis import given
from hypothesis import strategies as some

from pipeline.contract import make_ticker, parse_ticker
from pipeline.subscriptions import Board, Listed, choose, topics_of

TODAY = date(2026, 9, 9)


def listed(root: str, days: list[int], strikes: list[float]) -> list[Listed]:
    return [
        Listed(make_ticker(root, TODAY + timedelta(days=day), side, strike), TODAY + timedelta(days=day), strike)
        for day in days for strike in strikes for side in ("call", "put")
    ]


def board(root: str = "SPXW", days: list[int] | None = None, spot: float | None = 6800.0, step: int = 5) -> Board:
    strikes = [float(strike) for strike in range(6000, 7600, step)]
    return Board(listed(root, days if days is not None else [0, 1, 2, 7, 30], strikes), spot, TODAY)


def test_the_near_expiration_at_the_money_comes_first() -> None:
    chosen = choose({"SPX": board()}, 10)["SPX"]
    assert {parse_ticker(ticker).expiration for ticker in chosen} == {TODAY}
    assert {parse_ticker(ticker).strike for ticker in chosen} == {6790.0, 6795.0, 6800.0, 6805.0, 6810.0}


def test_calls_and_puts_of_a_strike_come_together() -> None:
    chosen = choose({"SPX": board()}, 200)["SPX"]
    strikes = [(parse_ticker(ticker).expiration, parse_ticker(ticker).strike) for ticker in chosen]
    assert strikes[::2] == strikes[1::2]


def test_a_month_at_the_money_comes_before_today_far_away() -> None:
    ranked = choose({"SPX": board()}, 100_000)["SPX"]
    month = ranked.index(make_ticker("SPXW", TODAY + timedelta(days=30), "call", 6800.0))
    today = ranked.index(make_ticker("SPXW", TODAY, "call", 7100.0))
    assert month < today


def test_each_expiration_gets_some_of_a_thousand() -> None:
    chosen = choose({"SPX": board()}, 1000)["SPX"]
    days = [(parse_ticker(ticker).expiration - TODAY).days for ticker in chosen]
    assert all(days.count(day) > 50 for day in (0, 1, 2, 7, 30))


def test_underlyings_share_fairly_and_leave_what_they_do_not_need() -> None:
    many, few = board("SPXW"), board("NDXP", [0], step=200)
    chosen = choose({"SPX": many, "NDX": few, "VIX": Board([], None, TODAY)}, 1000)
    assert len(chosen["NDX"]) == len(few.contracts)
    assert len(chosen["SPX"]) == 1000 - len(few.contracts)
    assert chosen["VIX"] == []
    even = choose({"SPX": many, "NDX": board("NDXP")}, 1000)
    assert len(even["SPX"]) == len(even["NDX"]) == 500


def test_what_has_expired_is_left_out() -> None:
    assert choose({"SPX": board(days=[-1])}, 10) == {"SPX": []}


def test_without_a_spot_the_middle_stands_in() -> None:
    chosen = choose({"SPX": board(spot=None)}, 2)["SPX"]
    assert {parse_ticker(ticker).strike for ticker in chosen} == {6800.0}


@given(some.integers(0, 700), some.floats(100, 20_000), some.lists(some.integers(-5, 60), max_size=4, unique=True))
def test_the_limit_is_kept_and_nothing_is_chosen_twice(limit: int, spot: float, days: list[int]) -> None:
    boards = {"SPX": board("SPXW", days, spot, 100), "NDX": board("NDXP", [0, 1], spot, 50)}
    chosen = choose(boards, limit)
    everything = [ticker for tickers in chosen.values() for ticker in tickers]
    alive = sum(contract.expiration >= TODAY for one in boards.values() for contract in one.contracts)
    assert len(everything) == len(set(everything)) == min(limit, alive)
    assert choose(boards, limit) == chosen


def test_quotes_trades_and_sums_of_each() -> None:
    assert topics_of(["O:X"]) == {"Q.O:X", "T.O:X", "A.O:X"}
