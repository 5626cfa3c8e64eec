from pathlib import Path

import pytest

from pipeline.simulator import FAULTS, Fault, FaultError, parse_fault
from pipeline.simulator.fault import FaultBoard


def test_a_fault_is_a_name_a_parameter_and_a_count():
    assert parse_fault("drop:30") == Fault("drop", 30.0, None)
    assert parse_fault("429:2x3") == Fault("429", 2.0, 3)
    assert parse_fault("502x1") == Fault("502", None, 1)
    assert parse_fault("slow-page") == Fault("slow-page", 5.0, None)
    assert parse_fault("not-authorized:T") == Fault("not-authorized", "T", None)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("melt", "unknown fault 'melt'; known: 401, 403"),
        ("", "unknown fault ''"),
        ("drop:soon", "'soon' is not a number"),
        ("drop:nan", "not between"),
        ("repeat:1.5", "1.5 is not between 0 and 1"),
        ("401:2", "401 takes no parameter"),
    ],
)
def test_a_fault_that_cannot_be_read_is_named(text, says):
    with pytest.raises(FaultError, match=says):
        parse_fault(text)


def test_every_fault_can_be_switched_on_by_its_name_alone():
    board = FaultBoard(tuple(parse_fault(name) for name in FAULTS), seed=1)
    assert all(board.active(name) for name in FAULTS)
    board.clear()
    assert not any(board.active(name) for name in FAULTS)


def test_a_counted_fault_strikes_so_often_and_no_more():
    board = FaultBoard((parse_fault("502x2"),), seed=1)
    assert [board.strike("502") is not None for _ in range(4)] == [True, True, False, False]
    assert board.struck["502"] == 2


def test_a_fraction_is_met_by_the_seeded_dice():
    hits = [FaultBoard((parse_fault("repeat:0.3"),), seed=5) for _ in range(2)]
    first, second = ([board.chance("repeat") for _ in range(2_000)] for board in hits)
    assert first == second
    assert 500 < sum(first) < 700


def test_every_fault_is_shown_on_the_wire_by_a_test():
    shown = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*_faults.py"))
    assert [name for name in FAULTS if f'"{name}' not in shown] == []
