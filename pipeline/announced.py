"""What an entry of massive:model:stream announces. A payload too large for one short call lies under a key of its own.

Such an entry has an empty ``payload`` and names the key in ``payload_key``. The key stays for a few minutes: a reader
that comes later reads the stored document, which is newer, and skips the diffs up to its version.
"""

from collections.abc import Mapping

from walrus import Database

INLINE_BYTES = 1024 * 1024
"""A payload up to this size is in the entry itself: some three milliseconds of the server's time."""


def payload_of(database: Database, fields: Mapping[bytes, bytes]) -> bytes | None:
    """The payload an entry announces; None where it lay under a key that is gone."""
    payload, key = fields.get(b"payload", b""), fields.get(b"payload_key", b"")
    if payload or not key:
        return payload
    stored: bytes | None = database.get(key)
    return stored
