"""The golden session ends in the very documents that are known of it."""

import orjson
from walrus import Database

from pipeline.settings import Settings
from tests.replay.golden import DIGESTS, digests


def test_the_golden_session_ends_in_the_known_documents(database: Database, settings: Settings) -> None:
    known, found = orjson.loads(DIGESTS.read_bytes()), digests(database, settings)
    changed = sorted(model for model in known.keys() | found.keys() if known.get(model) != found.get(model))
    assert changed == [], "other documents: if that is meant, renew the digests as tests/replay/golden.py says"
    assert database.dbsize() == 0
