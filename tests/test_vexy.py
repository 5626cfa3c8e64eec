"""The facts a commentator needs, as a pure fold of publications."""

import re
from typing import Any

from pipeline import vexy
from pipeline.folding import Seen
from pipeline.vexy import State
from tests.folding import EPOCH, levels, seen
from tests.valid import faults
from tests.world import T0

PANE = "2026-08-21:SPXW"
GEOMETRY = {PANE: ((7540.0, 7550.0, 7560.0), (20.0, 25.0))}
PROMISES = re.compile(
    r"\b(will|going to|likely|probably|should|could|may|might|forecast|predict\w*|target|recommend\w*|advi\w+|buy|sell|"
    r"opportunity|soon)\b", re.IGNORECASE,
)


def fold(*publications: Seen) -> tuple[State, list[dict[str, Any]]]:
    """Folded one by one, the state written and read again in between."""
    state, documents = State(), []
    for publication in publications:
        state, made = vexy.step(State.read(state.stored()), publication, GEOMETRY)
        documents += [made] if made else []
    return state, documents


def everything() -> list[Seen]:
    full = {PANE: {"butterfly": {"call": {"mid": [[1.0, 2.0], [3.0, None], [5.0, 6.0]]}}}}
    books = {"oi": {"net": 1_200_000_000, "gross": 5_000_000_000}}
    return [
        seen("heatmap", 1, T0, panes=full),
        seen("gex", 1, T0, spot=7550.0, levels=levels(), books=books),
        seen("market_mode", 1, T0, score=20.0, label="compression", reason=None, distance=1.1, ratio=0.2, constants=1),
        seen("liquidity_intent", 1, T0, lfi=63.0, bias=-12.0, quadrant="capped", reason=None),
        seen("dealer_gravity", 1, T0, best=7548.0, low=7510.0, high=7590.0, pull=-0.04, confidence=0.2, reason=None),
        seen("heatmap", 2, T0 + 2000, kind="diff",
             panes={PANE: {"butterfly:call:mid": {"i": [2, 3, 4], "v": [3.5, 4.0, 4.9]}}}),
        seen("gex", 2, T0 + 4000, kind="diff", spot=7572.5),
    ]


def test_every_fact_is_told_with_its_age_and_a_sentence_that_promises_nothing() -> None:
    _, documents = fold(*everything())
    for document in documents:
        assert faults("vexy-intel", document) == []
        for fact in document["facts"].values():
            assert not PROMISES.search(fact["text"]), fact["text"]
    facts = documents[-1]["facts"]
    assert facts["spot"]["text"] == "Spot is 7,572.50, +22.50 (+0.30%) from the first of the day seen, 7,550.00."
    assert facts["expected_move"]["used"] == 0.5
    assert facts["gamma"]["regime"] == "positive"
    assert (facts["flip"]["distance"], facts["walls"]["call"], facts["walls"]["put"]) == (72.5, 7600.0, 7400.0)
    assert facts["intent"]["quadrant"] == "capped"
    assert (facts["gravity"]["best"], facts["mode"]["label"]) == (7548.0, "compression")
    assert {name: fact["age_ms"] for name, fact in facts.items()} == {
        "spot": 0, "expected_move": 0, "gamma": 0, "flip": 0, "walls": 0, "freshness": 0,
        "mode": 4000, "gravity": 4000, "intent": 4000, "moves": 2000,
    }


def test_the_largest_moves_name_their_tile_and_where_it_came_from() -> None:
    _, documents = fold(*everything())
    moves = documents[-1]["facts"]["moves"]["top"]
    assert [(move["strike"], move["width"], move["from"], move["to"]) for move in moves] == [
        (7550.0, 20.0, 3.0, 3.5), (7560.0, 20.0, 5.0, 4.9)
    ], "the tile that had no price has come from nowhere"


def test_facts_that_nobody_knows_say_so() -> None:
    _, (document,) = fold(seen("gex", 1, T0, spot=None, as_of=None, levels=None, books=None))
    assert faults("vexy-intel", document) == []
    assert {fact["age_ms"] for fact in document["facts"].values()} == {None}


def test_a_document_is_due_once_a_second_or_when_what_matters_changes() -> None:
    quick = [seen("gex", n, T0 + n * 100, spot=7550.0 + n, levels=levels()) for n in range(1, 22)]
    assert [document["ts"] - T0 for document in fold(*quick)[1]] == [100, 1100, 2100]
    labels = ("transition", "transition", "expansion")
    label = [seen("market_mode", n, T0 + n, score=50.0, label=name) for n, name in enumerate(labels, 1)]
    assert [document["ts"] - T0 for document in fold(*label)[1]] == [1, 3]
    crossed = [seen("gex", 1, T0, spot=7510.0, levels=levels()), seen("gex", 2, T0 + 1, spot=7490.0)]
    assert len(fold(*crossed)[1]) == 2


def test_the_change_of_spot_begins_anew_with_the_new_york_day() -> None:
    day = 86_400_000
    at = {"quotes": T0 + day, "chain": T0, "spot": T0 + day, "oi_date": None}
    _, documents = fold(seen("gex", 1, T0, spot=7500.0), seen("gex", 2, T0 + day, spot=7600.0, as_of=at))
    assert [document["facts"]["spot"]["change"] for document in documents] == [0.0, 0.0]


def test_a_publication_that_comes_again_and_one_without_geometry_move_nothing() -> None:
    made = everything()
    state, _ = fold(*made)
    for again in made:
        assert vexy.step(state, again, GEOMETRY) == (state, None)
    diff = seen("heatmap", 3, T0 + 5000, EPOCH, "diff", panes={PANE: {"butterfly:call:mid": {"i": [2], "v": [9.0]}}})
    assert vexy.step(state, diff, None)[0].moves == state.moves
