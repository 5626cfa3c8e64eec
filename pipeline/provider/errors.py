"""What can go wrong with the provider, by what to do about it. No message holds the key.

ProviderError
  RefusedError    401, 403, 404, a redirect: asking again will not help; somebody must act
  BusyError       429: ask again, later
  FaultyError     5xx, time-outs, half a body, something that is not the JSON expected: worth another attempt
  AstrayError     next_url leads to another host, in a circle, or on without end: never followed
  StoppedError    this process is stopping
"""


class ProviderError(Exception):
    """An answer that cannot be used. One line."""


class RefusedError(ProviderError):
    """``status`` is the HTTP status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class BusyError(ProviderError):
    """``retry_after_s``: what the provider asked for, None where it named nothing."""

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class FaultyError(ProviderError):
    """Worth another attempt."""


class AstrayError(ProviderError):
    """Not to be followed."""


class StoppedError(ProviderError):
    """Given up because the process is stopping, not because of the provider."""
