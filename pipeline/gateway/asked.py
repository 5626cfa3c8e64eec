"""What a request asks for, checked: what cannot be is refused with one line that names it."""

from starlette.exceptions import HTTPException
from starlette.requests import Request

from pipeline.gateway.documents import ANNOUNCED, OTHERS
from pipeline.gateway.event import Position, parse_position
from pipeline.gateway.view import View

SUBSCRIBABLE = (*ANNOUNCED, *OTHERS)


class Asked:
    """The query of a request: each name known and given once. Everything raises HTTPException."""

    def __init__(self, request: Request, *names: str) -> None:
        self._headers = request.headers
        self._values: dict[str, str] = {}
        for name, value in request.query_params.multi_items():
            if name not in names:
                there = f"there are {', '.join(names)}" if names else "there is none"
                raise HTTPException(400, f"there is no parameter {_short(name)}; {there}")
            if name in self._values:
                raise HTTPException(400, f"{name} is given twice; its values are separated by commas")
            self._values[name] = value

    def symbols(self, known: tuple[str, ...]) -> frozenset[str]:
        return self._of("symbols", known)

    def models(self) -> frozenset[str]:
        return self._of("models", SUBSCRIBABLE)

    def _of(self, name: str, known: tuple[str, ...]) -> frozenset[str]:
        """All of them where none is named."""
        wanted = self._list(name) or known
        for one in wanted:
            if one not in known:
                raise HTTPException(400, f"{name}: there is no {_short(one)}; there are {', '.join(known)}")
        return frozenset(wanted)

    def view(self) -> View:
        try:
            return View.of(self._list("panes"), self._list("strategies"))
        except ValueError as error:
            raise HTTPException(400, str(error)) from None

    def number(self, name: str, default: int, most: int) -> int:
        text = self._values.get(name) or str(default)
        if not (text.isascii() and text.isdigit() and len(text) < 10 and 1 <= int(text) <= most):
            raise HTTPException(400, f"{name}: {_short(text)} is not a number from 1 to {most}")
        return int(text)

    @property
    def replay(self) -> str:
        """The name of the replay that is asked for; '' for what is live."""
        return self._values.get("replay", "")

    @property
    def last_id(self) -> str:
        """Where the client was; EventSource says it in the header, which counts more than its first query."""
        return self._headers.get("last-event-id") or self._values.get("last_event_id", "")

    def last_event(self) -> Position | None:
        text = self.last_id
        try:
            return parse_position(text) if text else None
        except ValueError as error:
            raise HTTPException(400, f"Last-Event-ID: {error}") from None

    @property
    def gzip(self) -> bool:
        """Whether the client says that it reads it."""
        for offered in self._headers.get("accept-encoding", "").split(","):
            coding, _, weight = offered.partition(";")
            if coding.strip().lower() == "gzip":
                return weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
        return False

    def _list(self, name: str) -> tuple[str, ...]:
        text = self._values.get(name, "")
        return tuple(text.split(",")) if text else ()


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")
