"""The provider's REST and sockets, and nothing of ours: no Redis, no keys, no streams."""
