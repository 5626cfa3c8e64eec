"""How a stage tells the runtime what became of a batch. Anything else that it raises is a fault: see stage.py."""


class Gone(Exception):
    """Some entries were committed by another consumer meanwhile; nothing was applied. ``left`` are still ours."""

    def __init__(self, left: frozenset[str]) -> None:
        super().__init__(f"{len(left)} entries left")
        self.left = left


class Poison(Exception):
    """Entries that no retry can save, each with its reason: they go to the dead letters at once."""

    def __init__(self, reasons: dict[str, str]) -> None:
        super().__init__("; ".join(f"{entry}: {reason}" for entry, reason in reasons.items()))
        self.reasons = reasons


class NotYet(Exception):
    """This must wait for something else that is under way. Tried again after ``delay_s``, without counting."""

    def __init__(self, why: str, delay_s: float) -> None:
        super().__init__(why)
        self.delay_s = delay_s
