"""Market events as a pure fold of publications."""

from typing import Any

import pytest

from pipeline import vigil
from pipeline.folding import Seen
from pipeline.vigil import Event, State
from tests.folding import EPOCH, levels, seen
from tests.valid import faults
from tests.world import T0

MINUTE = 60_000


def fold(*publications: Seen, state: State | None = None) -> tuple[State, list[Event]]:
    """Folded one by one, the state written and read again in between, as between two consumers."""
    state, events = state or State(), []
    for publication in publications:
        state, made = vigil.step(State.read(state.stored()), publication)
        events += made
    return state, events


def gex(version: int, ts: int, spot: float = 7550.0, **body: Any) -> Seen:
    return seen("gex", version, ts, spot=spot, **body)


def kinds(*publications: Seen) -> list[str]:
    return [event.type for event in fold(*publications)[1]]


def check(event: Event) -> None:
    names = event.fields()
    fields: dict[str, Any] = dict(zip(names[::2], names[1::2], strict=True))
    assert faults("vigil-event", {**fields, "ts": event.ts, "evidence": event.evidence}) == []


def test_spot_that_moves_to_the_other_side_of_the_flip_crosses_it() -> None:
    _, events = fold(
        gex(1, T0, 7510.0, levels=levels(7500.0)), gex(2, T0 + MINUTE, 7505.0), gex(3, T0 + 2 * MINUTE, 7495.0)
    )
    (event,) = events
    assert (event.type, event.evidence["to"], event.evidence["moved"]) == ("flip_crossed", "below", "spot")
    check(event)


def test_a_flip_that_moves_past_spot_says_that_it_was_the_flip() -> None:
    _, events = fold(
        gex(1, T0, 7510.0, levels=levels(7500.0)), gex(2, T0 + MINUTE, 7510.0, levels=levels(7520.0))
    )
    assert [event.evidence["moved"] for event in events] == ["flip"]


def test_spot_on_the_flip_and_a_flip_that_is_unknown_cross_nothing() -> None:
    assert kinds(
        gex(1, T0, 7510.0, levels=levels(7500.0)), gex(2, T0 + MINUTE, 7500.0),
        gex(3, T0 + 2 * MINUTE, 7490.0, levels=levels(None)), gex(4, T0 + 3 * MINUTE, 7490.0),
    ) == []


def test_what_is_undone_within_the_cool_down_is_not_told_and_what_stays_is_told_after_it() -> None:
    start = [gex(1, T0, 7505.0, levels=levels(7500.0)), gex(2, T0 + 1000, 7495.0)]
    assert kinds(*start, gex(3, T0 + 2000, 7505.0), gex(4, T0 + 3000, 7495.0)) == ["flip_crossed"]
    _, events = fold(*start, gex(3, T0 + 2000, 7505.0), gex(4, T0 + 2 * MINUTE, 7506.0))
    assert [event.evidence["to"] for event in events] == ["below", "above"]


def test_each_wall_that_moves_is_told_with_its_side() -> None:
    _, events = fold(
        gex(1, T0, levels=levels()), gex(2, T0 + 1000, levels=levels(call=7650.0, put=7350.0)),
        gex(3, T0 + 2000, levels=levels(call=None, put=None)),
    )
    assert [(event.type, event.evidence["side"], event.evidence["to"]) for event in events] == [
        ("wall_moved", "call", 7650.0), ("wall_moved", "put", 7350.0)
    ]
    for event in events:
        check(event)


def test_a_mode_that_changes_its_label_is_told_and_no_label_is_no_change() -> None:
    made = [
        seen("market_mode", n + 1, T0 + n * 2 * MINUTE, score=score, label=label)
        for n, (score, label) in enumerate(((20.0, "compression"), (None, None), (50.0, "transition"),
                                            (51.0, "transition"), (80.0, "expansion")))
    ]
    _, events = fold(*made)
    assert [(event.evidence["from"], event.evidence["to"], event.severity) for event in events] == [
        ("compression", "transition", "info"), ("transition", "expansion", "warning")
    ]


@pytest.mark.parametrize(
    ("spots", "told"),
    [
        ([(0, 7500.0), (30_000, 7537.5)], ["warning"]),
        ([(0, 7500.0), (30_000, 7537.4)], []),
        ([(0, 7500.0), (61_000, 7540.0)], []),
        ([(0, 7500.0), (30_000, 7400.0)], ["critical"]),
        ([(0, 7500.0), (30_000, 7540.0), (31_000, 7541.0), (95_000, 7541.0)], ["warning"]),
        ([(0, 7500.0), (-86_400_000, 7600.0)], []),
    ],
)
def test_a_move_within_a_minute_of_event_time_is_sharp(spots: list[tuple[int, float]], told: list[str]) -> None:
    _, events = fold(*(gex(n + 1, T0 + ms, spot) for n, (ms, spot) in enumerate(spots)))
    assert [event.severity for event in events] == told
    for event in events:
        assert event.type == "sharp_move"
        check(event)


def test_volume_that_grows_by_three_times_its_mean_is_a_surge_once_a_minute() -> None:
    total, made = 0, []
    for minute in range(8):
        total += 100 if minute < 7 else 299
        made.append(gex(minute + 1, T0 + minute * MINUTE, books={"volume": {"gross": total}}))
    assert kinds(*made) == []
    more = [gex(9 + n, T0 + 7 * MINUTE + n, books={"volume": {"gross": total + 1 + n}}) for n in range(3)]
    _, events = fold(*made, *more)
    assert [event.type for event in events] == ["volume_surge"]
    check(events[0])


def test_volume_after_a_gap_or_of_another_epoch_is_not_measured() -> None:
    steady = [gex(n + 1, T0 + n * MINUTE, books={"volume": {"gross": n * 100}}) for n in range(8)]
    assert kinds(*steady, gex(9, T0 + 12 * MINUTE, books={"volume": {"gross": 9000}})) == []
    other = EPOCH.replace("abcdef", "fedcba").replace(str(T0), str(T0 + 1))
    assert kinds(*steady, seen("gex", 9, T0 + 8 * MINUTE, other, books={"volume": {"gross": 9000}})) == []


def as_of(quotes: int, spot: int) -> dict[str, Any]:
    return {"quotes": quotes, "chain": T0, "spot": spot, "oi_date": "2026-08-19"}


def test_data_are_stale_once_until_they_are_not() -> None:
    behind = as_of(T0, T0 + 5 * MINUTE)
    _, events = fold(
        gex(1, T0), gex(2, T0 + 5 * MINUTE, as_of=behind), gex(3, T0 + 5 * MINUTE + 1, as_of=behind),
        gex(4, T0 + 6 * MINUTE), gex(5, T0 + 30 * MINUTE, status="stale"),
    )
    assert [event.type for event in events] == ["data_stale"] * 2
    assert [event.evidence["status"] for event in events] == ["live", "stale"]
    check(events[0])


def test_delayed_quotes_and_a_closed_market_are_not_stale() -> None:
    behind = as_of(T0, T0 + 15 * MINUTE)
    assert kinds(gex(1, T0, status="delayed", as_of=behind), gex(2, T0 + 1, status="closed", as_of=behind)) == []


def test_a_publication_that_comes_again_changes_nothing() -> None:
    made = [gex(1, T0, 7510.0, levels=levels(7500.0)), gex(2, T0 + MINUTE, 7490.0)]
    state, _ = fold(*made)
    for again in made:
        after, events = vigil.step(state, again)
        assert (after, events) == (state, [])


def test_a_step_leaves_the_state_it_was_given_as_it_was() -> None:
    state, _ = fold(gex(1, T0, 7510.0, levels=levels()))
    before = state.stored()
    vigil.step(state, gex(2, T0 + MINUTE, 7490.0, levels=levels(call=7700.0)))
    assert state.stored() == before


@pytest.mark.parametrize("body", [
    {"spot": None}, {"levels": None}, {"levels": {"flip": None}}, {"books": {}}, {"books": {"volume": None}},
    {"as_of": None, "status": None}, {"levels": {"call_wall": "high"}}, {"spot": "7500"},
])
def test_absent_and_strange_members_are_no_events(body: dict[str, Any]) -> None:
    assert kinds(gex(1, T0), seen("gex", 2, T0 + MINUTE, **body), seen("market_mode", 1, T0, **body)) == []


def epoch_events(*entries: tuple[str, str, int]) -> list[Event]:
    state, events = State(), []
    for event, epoch, ts in entries:
        state, made = vigil.step_epoch(State.read(state.stored()), event, "SPX", epoch, "", "why", ts)
        events += made
    return events


def test_a_feed_is_dormant_once_until_it_speaks_again() -> None:
    events = epoch_events(
        ("promoted", "SPX:1:a", T0), ("promoted", "SPX:1:a", T0), ("dormant", "SPX:1:a", T0 + 1),
        ("promoted", "SPX:2:b", T0 + 2), ("dormant", "SPX:2:b", T0 + 40_000), ("resumed", "SPX:2:b", T0 + 50_000),
        ("resumed", "SPX:2:b", T0 + 50_001), ("dormant", "SPX:2:b", T0 + 200_000), ("retired", "SPX:1:a", T0),
    )
    assert [event.type for event in events] == [
        "epoch_promoted", "feed_dormant", "epoch_promoted", "feed_resumed", "feed_dormant"
    ]
    assert len({event.key for event in events}) == 5
    for event in events:
        check(event)


def test_a_state_of_other_constants_is_begun_anew() -> None:
    assert State.read(b'{"constants":0,"stale":true}') == State()
    assert State.read(b"") == State()
