"""Models as pure functions of arrays and event times: no Redis, no clock, no state between calls."""
