"""Continuous archiving: a session file each so many seconds, one after the other without a gap; old ones go."""

import re
import time
from datetime import UTC, datetime
from pathlib import Path

from walrus import Database

from pipeline.keys import Keys
from pipeline.logs import Log
from pipeline.replay.session_file import write_session
from pipeline.replay.window import Row, WindowError, read_versions, read_window, server_ms, shown
from pipeline.settings import Settings

_BEHIND_MS = 1000
"""A file ends so long before now: what came in until then is committed, as a rule."""
_NAME = re.compile(r"(?P<symbol>[A-Z0-9]+)-\d{8}T\d{6}\.\d{3}Z--(?P<end>\d{8}T\d{6}\.\d{3})Z\.msw")


class Archive:
    """One underlying's files in a folder. ``turn`` now and then: at least twice in ``model_retention_s``."""

    def __init__(
        self, database: Database, keys: Keys, symbol: str, settings: Settings, folder: Path, every_s: float,
        keep_s: float,
    ) -> None:
        """Raises WindowError for a folder that cannot be used, and files longer than what Redis retains."""
        if every_s > settings.retention_s - 30:
            raise WindowError(
                f"--every {every_s:g}: Redis keeps {settings.retention_s:g} s (MASSIVE_RETENTION_S); take thirty less"
            )
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WindowError(f"{folder} cannot be used: {error.strerror}") from None
        self._database = database
        self._keys = keys
        self._symbol = symbol
        self._settings = settings
        self._folder = folder
        self._every_ms = int(every_s * 1000)
        self._keep_ms = int(keep_s * 1000)
        self._versions: list[Row] = []
        self._seen = ""
        self._read_at = 0.0
        now = server_ms(database)
        last = max((end for _, end in self.files()), default=0)
        self._from_ms = last + 1 if last > now - settings.retention_s * 1000 + 10_000 else now

    def files(self) -> list[tuple[Path, int]]:
        """This underlying's files, each with the time it ends at, ms; the oldest first."""
        found = []
        for path in self._folder.glob(f"{self._symbol}-*.msw"):
            named = _NAME.fullmatch(path.name)
            if named and named["symbol"] == self._symbol:
                found.append((path, _ms(named["end"])))
        return sorted(found, key=lambda file: file[1])

    def turn(self, log: Log, last: bool = False) -> None:
        """Take versions before they are trimmed; write a file when it is due, or whatever there is when ``last``."""
        now = server_ms(self._database)
        end = now - _BEHIND_MS
        due = end - self._from_ms >= (1 if last else self._every_ms)
        if due or time.monotonic() - self._read_at >= min(10.0, self._settings.model_retention_s / 4):
            self._take_versions(now)
        if not due:
            return
        try:
            window = read_window(self._database, self._keys, self._symbol, self._from_ms, end, self._settings)
            base_ms = window.base_ms
            window.versions = [row for row in self._versions if base_ms <= row.ms <= end]
            path = self._folder / f"{self._symbol}-{_stamp(self._from_ms)}--{_stamp(end)}.msw"
            size = write_session(window, path)
            log.info("recorded", file=str(path), entries=window.entries, versions=len(window.versions), bytes=size)
        except WindowError as error:
            log.warning("nothing recorded", symbol=self._symbol, begin=shown(self._from_ms), why=str(error))
        kept_from = end - 2 * self._every_ms - int(2000 * self._settings.snapshot_interval_s)
        self._versions = [row for row in self._versions if row.ms >= kept_from]
        self._from_ms = end + 1
        self._remove_old(now, log)

    def _take_versions(self, now: int) -> None:
        self._read_at = time.monotonic()
        first = f"({self._seen}" if self._seen else f"{self._from_ms}"
        self._versions += read_versions(self._database, self._keys, self._symbol, first, f"{now}")
        if self._versions:
            self._seen = self._versions[-1].id

    def _remove_old(self, now: int, log: Log) -> None:
        for path, end in self.files():
            if end < now - self._keep_ms:
                path.unlink(missing_ok=True)
                log.info("removed", file=str(path))


def _stamp(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y%m%dT%H%M%S.") + f"{ms % 1000:03d}Z"


def _ms(stamp: str) -> int:
    moment = datetime.strptime(stamp[:15], "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
    return int(moment.timestamp()) * 1000 + int(stamp[16:])
