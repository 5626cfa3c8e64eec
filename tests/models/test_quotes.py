import numpy as np

from pipeline.models.quotes import MAX_PRICE_MILLS, REASONS, UNLISTED, read_quotes

NAN = np.nan


def quote(bid, ask, listed=True):
    quotes = read_quotes(np.array([[bid], [1.0]]), np.array([[ask], [1.1]]), np.array([[listed], [True]]))
    code = int(quotes.reason[0, 0])
    return "priced" if code == 0 else "unlisted" if code == UNLISTED else REASONS[code - 1]


def test_a_quote_is_priced_where_bid_is_not_above_ask_and_ask_is_positive():
    assert quote(1.0, 1.1) == "priced"
    assert quote(1.0, 1.0) == "priced"
    assert quote(0.0, 0.05) == "priced"


def test_every_other_quote_says_why_it_is_missing():
    assert quote(1.2, 1.1) == "crossed"
    assert quote(1.2, NAN) == "no_ask"
    assert quote(1.2, 0.0) == "no_ask"
    assert quote(NAN, 1.2) == "no_bid"
    assert quote(NAN, NAN) == "empty"
    assert quote(0.0, 0.0) == "empty"
    assert quote(0.0, NAN) == "empty"
    assert quote(NAN, 0.0) == "empty"
    assert quote(-0.05, 0.05) == "negative"
    assert quote(0.05, -0.05) == "negative"
    assert quote(1e9, 1e9) == "out_of_range"
    assert quote(1.0, np.inf) == "out_of_range"


def test_a_contract_that_does_not_exist_has_no_quote_and_is_not_counted():
    assert quote(1.0, 1.1, listed=False) == "unlisted"
    quotes = read_quotes(np.full((2, 3), NAN), np.full((2, 3), NAN), np.zeros((2, 3), dtype=bool))
    assert sum(quotes.reasons().values()) == 0


def test_reasons_are_counted_under_fixed_names():
    bid = np.array([[1.0, 2.0, NAN], [0.0, 0.0, 1.0]])
    ask = np.array([[1.1, 1.9, NAN], [0.0, 0.05, NAN]])
    assert read_quotes(bid, ask, np.ones((2, 3), dtype=bool)).reasons() == {
        "out_of_range": 0,
        "negative": 0,
        "empty": 2,
        "no_ask": 1,
        "no_bid": 0,
        "crossed": 1,
    }


def test_mids_are_exact_halves_and_nan_where_missing():
    quotes = read_quotes(
        np.array([[0.05, 3.0], [1.0, NAN]]), np.array([[0.1, 2.0], [1.01, 1.0]]), np.ones((2, 2), bool)
    )
    np.testing.assert_array_equal(quotes.mids(), [[0.075, NAN], [1.005, NAN]])


def test_prices_round_to_mills_half_to_even():
    bid = np.array([[0.0005, 0.0015, 0.0025], [1.2344999, 1.2345001, 499_999.999]])
    quotes = read_quotes(bid, np.full((2, 3), 499_999.999), np.ones((2, 3), dtype=bool))
    np.testing.assert_array_equal(quotes.bid, [[0, 2, 2], [1234, 1235, MAX_PRICE_MILLS]])
