"""`marketswarm model` on what a real world published: JSON as stored, tables for people, one line for what is not."""

import json
from collections.abc import Iterator
from datetime import date

import pytest

from pipeline.cli.published import Published
from pipeline.database import connect
from pipeline.keys import Keys
from pipeline.publication import FACTS, MODELS
from pipeline.settings import Settings
from tests.cli.run import marketswarm, refused
from tests.test_schemas import fairly_priced
from tests.valid import faults
from tests.world import T0, World, tickers

PANES = ["2026-08-21:SPX", "2026-08-21:SPXW", "2026-08-24:SPXW"]


@pytest.fixture(scope="module")
def world(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Three expirations, published once; nothing here changes it."""
    database = connect(redis_url)
    database.flushdb()
    given = Settings(data_dir=tmp_path_factory.mktemp("data"), redis_url=redis_url, greeks_interval_s=0)
    made = World(database, given)
    listed = tickers(days=(date(2026, 8, 21), date(2026, 8, 24)), strikes=range(7400, 7705, 10)) + tickers("SPX")
    made.chain([fairly_priced(ticker) for ticker in listed])
    made.settle()
    yield made
    database.flushdb()
    database.connection_pool.disconnect()


def shown(redis_url: str, *words: str) -> str:
    answer = marketswarm("model", *words, REDIS_URL=redis_url)
    assert answer.returncode == 0, answer.stderr
    assert answer.stderr == ""
    return answer.stdout


def test_json_is_the_stored_document_without_its_blanks(world: World, redis_url: str) -> None:
    text = shown(redis_url, "gex", "spx", "--json")
    assert json.loads(text) == world.model("gex")
    assert text.count("\n") == 1
    assert ": " not in text
    assert "  " not in text


def test_json_of_one_strategy_and_of_one_pane(world: World, redis_url: str) -> None:
    view = json.loads(shown(redis_url, "heatmap", "SPX", "--strategy", "single", "--pane", "2026-08-24", "--json"))
    assert faults("heatmap-view", view) == []
    stored = world.model("heatmap_single")
    assert view == {**stored, "panes": {"2026-08-24:SPXW": stored["panes"]["2026-08-24:SPXW"]}}


def test_json_of_spot(world: World, redis_url: str) -> None:
    assert json.loads(shown(redis_url, "spot", "SPX", "--json")) == {"symbol": "SPX", "price": 7550.0, "ts": T0}


def test_a_heatmap_is_strikes_by_widths_around_the_money(world: World, redis_url: str) -> None:
    lines = shown(redis_url, "heatmap", "SPX").splitlines()
    assert lines[0].startswith("SPX heatmap 7,550 live  v1 ")
    assert "quotes 08-20 11:20  chain 11:20  OI 08-19" in lines[0]
    assert lines[1].startswith("butterfly call mid  2026-08-21:SPXW  1 DTE")
    assert lines[2].split() == ["strike", "20", "25", "30", "35", "40", "45", "50"]
    strikes = [line.split()[-8] for line in lines[3:]]
    assert strikes == sorted(strikes, reverse=True)
    (at_spot,) = [line for line in lines[3:] if line.startswith(">")]
    pane = world.model("heatmap")["panes"]["2026-08-21:SPXW"]
    row = pane["butterfly"]["call"]["mid"][pane["strikes"].index(7550)]
    assert at_spot.split()[1:] == ["7,550", *("-" if value is None else f"{value:.2f}" for value in row)]


def test_a_heatmap_of_another_pane_strategy_side_and_display(world: World, redis_url: str) -> None:
    words = ("--pane", "2026-08-24:SPXW", "--strategy", "single", "--side", "put", "--display", "buy")
    lines = shown(redis_url, "heatmap", "SPX", *words).splitlines()
    assert lines[1].startswith("single put buy  2026-08-24:SPXW  4 DTE")
    assert lines[2].split() == ["strike", "buy"]


def test_gex_is_bars_totals_and_levels(world: World, redis_url: str) -> None:
    text = shown(redis_url, "gex", "SPX")
    assert "F flip " in text
    assert "C wall 7,5" in text
    assert "31+ DTE -" in text
    signs = {line.split("│")[0].rstrip()[-1:] in {"█", "▐"} for line in text.splitlines() if "│" in line}
    assert signs == {True, False}, "puts on the left, calls on the right"


@pytest.mark.parametrize("name", FACTS)
def test_facts_are_a_line_each(name: str, world: World, redis_url: str) -> None:
    text = shown(redis_url, name, "SPX")
    for member in ("reason", "constants"):
        assert member in text
    assert "\nsymbol" not in text, "the header has a line of its own"


@pytest.mark.parametrize("name", ["gex_calls", "gex_puts"])
def test_a_side_is_a_line_an_expiration(name: str, world: World, redis_url: str) -> None:
    assert [line.split()[0] for line in shown(redis_url, name, "SPX").splitlines()[1:]] == PANES


@pytest.mark.parametrize(
    ("words", "status", "line"),
    [
        (("gexx", "SPX"), 2, "no model 'gexx': there are heatmap, gex, gex_calls,"),
        (("gex", "NDX"), 1, "no gex of NDX is published: there is one of SPX"),
        (("spot", "QQQ"), 1, "no spot of QQQ is published: there is one of SPX"),
        (("heatmap", "SPX", "--pane", "2026-08-21"), 1, "there are " + ", ".join(PANES)),
        (("gex", "SPX", "--pane", "2026-08-21"), 2, "--pane and --strategy are of a heatmap, not of gex"),
    ],
)
def test_what_is_not_there_is_one_line(words: tuple[str, ...], status: int, line: str, world: World, redis_url: str
                                       ) -> None:
    assert line in refused(marketswarm("model", *words, REDIS_URL=redis_url), status)


# --- what the commands read with ---
def test_a_pane_is_read_by_its_bytes_alone(world: World) -> None:
    published = Published(world.database, world.keys, "SPX")
    whole = world.model("heatmap")
    for strategy in ("butterfly", "vertical", "single"):
        for pane in PANES:
            found = published.surface(strategy, pane)
            assert found is not None
            assert (found.pane, list(found.panes), list(found.widths)) == (pane, PANES, whole["widths"])
            assert found.body[strategy] == whole["panes"][pane][strategy]
            assert found.header["epoch"] == whole["epoch"]
    nearest = published.surface("butterfly", None)
    assert nearest is not None
    assert nearest.pane == "2026-08-21:SPXW"
    assert set(published.ages()) == set(MODELS)


def test_nothing_published_is_nothing_to_show(world: World) -> None:
    published = Published(world.database, Keys(), "NDX")
    assert published.surface("butterfly", None) is None
    assert published.snapshot("butterfly", None).header is None
