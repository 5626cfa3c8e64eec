"""`marketswarm analyze` as an analyst runs it: another process, a file, tables or JSON."""

import gzip
import json
from pathlib import Path

import orjson
import pytest

from tests.cli.run import ROOT, marketswarm, refused
from tests.models.smiling_chains import AS_OF_MS, MONDAY, smiling_pane

DATA = ROOT.parent / "shared" / "data"
KEYS = ["symbol", "spot", "as_of", "rate", "contracts", "bad_rows", "settled_panes", "coverage", "gex", "levels",
        "market_mode", "liquidity_intent", "dealer_gravity", "panes"]  # fmt: skip


def real(name: str) -> str:
    path = DATA / name
    if not path.exists():
        pytest.skip(f"the recorded chain {name} is not on this machine")
    return str(path)


def analysed(*words: str) -> dict:
    answer = marketswarm("analyze", *words, "--json")
    assert answer.returncode == 0, answer.stderr
    assert answer.stderr == ""
    return json.loads(answer.stdout)


def rows(*panes) -> list[dict]:
    made = []
    for pane in panes:
        geometry, values = pane.geometry, pane.values
        for side in range(2):
            for at, strike in enumerate(geometry.strikes.tolist()):
                ticker = f"O:{geometry.root}{geometry.expiration:%y%m%d}{'CP'[side]}{round(strike * 1000):08d}"
                made.append({
                    "details": {"ticker": ticker, "shares_per_contract": 100},
                    "last_quote": {"bid": float(values.bid[side, at]), "ask": float(values.ask[side, at]),
                                   "last_updated": AS_OF_MS * 1_000_000},
                    "day": {"volume": 3}, "open_interest": float(values.open_interest[side, at]),
                    "underlying_asset": {"ticker": "I:SPX", "value": values.spot, "last_updated": AS_OF_MS * 1_000_000},
                })  # fmt: skip
    return made


@pytest.fixture(scope="module")
def provider_chain(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("chain") / "rows.json.gz"
    chain = {"results": rows(smiling_pane(), smiling_pane(root="SPX"), smiling_pane(expiration=MONDAY))}
    path.write_bytes(gzip.compress(orjson.dumps(chain)))
    return str(path)


def test_the_full_recorded_chain_meets_its_anchors():
    found = analysed(real("cboe_spx_2026-08-20_close.csv.gz"), "--as-of", "2026-08-20T16:14", "--spot", "7641.1602",
                     "--rate", "0.037")
    assert list(found) == KEYS
    assert (found["symbol"], found["contracts"], found["bad_rows"]) == ("SPX", 30_282, 0)
    assert found["as_of"] == "2026-08-20T16:14:00-04:00"
    assert found["coverage"] > 0.99
    gex, levels = found["gex"], found["levels"]
    # The tolerances are those of tests/models/test_symbol.py.
    assert gex["net_usd_1pct"] == pytest.approx(-16.58e9, abs=0.0025 * gex["gross_usd_1pct"])
    assert gex["ratio"] == pytest.approx(gex["net_usd_1pct"] / gex["gross_usd_1pct"], abs=1e-6)
    assert levels["flip"]["value"] == pytest.approx(7664.7, abs=1.0)
    assert levels["flip"]["reason"] is None
    assert levels["flip"]["roots"] == [levels["flip"]["value"]]
    assert (levels["call_wall"], levels["put_wall"]) == (8000.0, 7600.0)
    assert gex["books"]["oi"]["oi_date"] == "2026-08-19"
    assert len(gex["profile"]["prices"]) == len(gex["profile"]["oi"]["net"]) == 61


def test_max_dte_keeps_the_near_expirations():
    found = analysed(real("cboe_spx_2026-08-20_close.csv.gz"), "--as-of", "2026-08-20T16:14", "--spot", "7641.1602",
                     "--max-dte", "12")
    assert found["levels"]["flip"]["value"] == pytest.approx(7703.7, abs=1.0)
    assert (found["levels"]["call_wall"], found["levels"]["put_wall"]) == (7650.0, 7600.0)
    assert max(pane["dte"] for pane in found["panes"].values()) == 12


def test_the_side_by_side_layout_and_a_market_without_a_flip():
    found = analysed(real("cboe_ndx_2022-12-12_2031.csv.gz"), "--as-of", "2022-12-12T16:14", "--max-dte", "12")
    assert (found["symbol"], found["spot"]) == ("NDX", 11706.44)
    assert found["levels"]["flip"] == {"value": None, "reason": "no_root", "sign": 1, "roots": []}
    assert found["market_mode"]["label"] == "compression"


def test_the_providers_rows_without_anything_recorded(provider_chain):
    found = analysed(provider_chain)
    assert list(found) == KEYS
    assert (found["symbol"], found["contracts"], found["spot"], found["coverage"]) == ("SPX", 486, 5000.0, 1.0)
    assert list(found["panes"]) == ["2026-08-21:SPX", "2026-08-21:SPXW", "2026-08-24:SPXW"]
    assert found["levels"]["expected_move"] == pytest.approx(42.9, abs=0.5)
    assert found["market_mode"]["score"] is not None
    assert found["liquidity_intent"]["quadrant"]
    assert found["dealer_gravity"]["best"] == pytest.approx(5000, abs=50)


def test_options_override_the_file(provider_chain):
    found = analysed(provider_chain, "--spot", "5010", "--as-of", "2026-08-21T10:00:00-04:00", "--rate", "0.01")
    assert (found["spot"], found["rate"], found["settled_panes"]) == (5010.0, 0.01, 1)
    assert found["as_of"] == "2026-08-21T10:00:00-04:00"
    assert list(found["panes"]) == ["2026-08-21:SPXW", "2026-08-24:SPXW"]


def test_tables_for_people(provider_chain):
    answer = marketswarm("analyze", provider_chain)
    assert answer.returncode == 0, answer.stderr
    text = answer.stdout
    for word in ("GEX", "flip", "walls", "expected move", "Market Mode", "Liquidity Intent", "Dealer Gravity",
                 "2026-08-21:SPXW", "2026-08-19"):
        assert word in text
    for word in ("predict", "forecast", "will "):
        assert word not in text


@pytest.mark.parametrize(
    ("content", "words", "status", "line"),
    [
        (b"a,b\n1,2\n", (), 1, "not a Cboe option chain (no header of either layout in its first ten lines)"),
        (b"[]", (), 1, "no chain row with a ticker that can be read (of 0 rows)"),
        (b"[{]", (), 1, "not JSON"),
        (None, (), 2, "No such file or directory"),
        (b"[]", ("--as-of", "yesterday"), 2, "--as-of: 'yesterday' is no ISO time, as 2026-08-20T16:14"),
        (b"[]", ("--as-of", "1066-10-14"), 2, "--as-of: '1066-10-14' is no time of this century"),
        (b"[]", ("--spot", "-1"), 2, "--spot: -1.0 is no price"),
        (b"[]", ("--spot", "nan"), 2, "--spot: nan is no price"),
        (b"[]", ("--rate", "3.7"), 2, "--rate: 3.7 is not between -0.05 and 0.5"),
    ],
)
def test_what_cannot_be_is_one_line(tmp_path: Path, content, words, status, line):
    path = tmp_path / "chain.json"
    if content is not None:
        path.write_bytes(content)
    assert line in refused(marketswarm("analyze", str(path), *words), status)


def test_no_expiration_left_is_one_line(provider_chain):
    said = refused(marketswarm("analyze", provider_chain, "--max-dte", "0"), 1)
    assert said == f"{provider_chain}: no expiration within 0 days of 2026-08-20"
