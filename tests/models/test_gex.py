import numpy as np

from pipeline.models.gex import MISSING_USD, exposure, gex_usd_1pct, net_by_strike, summary, union_of_strikes

NAN = np.nan
NONE = {"call": None, "put": None, "net": None, "gross": None, "ratio": None}


def test_gex_is_dollars_of_delta_per_percent_calls_plus_puts_minus():
    gamma = np.array([0.002, 0.001])
    gex = gex_usd_1pct(gamma, np.array([[10.0, 0.0], [5.0, 7.0]]), np.full((2, 2), 100.0), 5000.0)
    # 0.002 * 10 * 100 * 5000^2 * 0.01
    assert gex.tolist() == [[500_000, 0], [-250_000, -175_000]]
    assert gex.dtype == np.int64


def test_whatever_is_unknown_or_absurd_makes_the_contract_missing():
    gamma = np.array([NAN, 0.001, 0.001, np.inf])
    weight = np.array([[1.0, NAN, 1e300, 1.0], [1.0, 1.0, 1.0, 0.0]])
    gex = gex_usd_1pct(gamma, weight, np.full((2, 4), 100.0), 100.0)
    assert (gex == MISSING_USD).tolist() == [[True, True, True, True], [True, False, False, True]]
    assert (gex_usd_1pct(gamma, weight, np.full((2, 4), 100.0), NAN) == MISSING_USD).all()


def test_net_by_strike_adds_panes_where_they_share_a_strike():
    near = (np.array([95.0, 100.0]), np.array([[10, 20], [-5, MISSING_USD]]))
    far = (np.array([100.0, 102.5, 105.0]), np.array([[1, 2, MISSING_USD], [-3, -2, MISSING_USD]]))
    union = union_of_strikes([near[0], far[0]])
    assert union.tolist() == [95.0, 100.0, 102.5, 105.0]
    strikes, gex = np.concatenate((near[0], far[0])), np.concatenate((near[1], far[1]), axis=1)
    assert net_by_strike(strikes, gex).tolist() == [5, 18, 0, MISSING_USD]


def test_totals_and_buckets_speak_of_what_is_known():
    near = np.array([[10, 20], [-5, MISSING_USD]])
    far = np.array([[MISSING_USD], [-15]])
    both = {"call": 30, "put": -20, "net": 10, "gross": 50, "ratio": 0.2}
    assert exposure(np.concatenate((near, far), axis=1)) == both
    assert exposure(np.empty((2, 0), dtype=np.int64)) == NONE
    assert exposure(np.array([[0], [0]]))["ratio"] is None
    result = summary(np.array([0, 31, -1]), np.array([[30, MISSING_USD, 30], [-5, -15, -5]]))
    assert list(result["buckets"]) == ["0", "1", "2-5", "6-30", "31+"]
    assert result["buckets"]["0"]["net"] == 25
    assert result["buckets"]["31+"] == {"call": 0, "put": -15, "net": -15, "gross": 15, "ratio": -1.0}
    assert result["buckets"]["1"] == NONE
