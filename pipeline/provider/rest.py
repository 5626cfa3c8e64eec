"""The provider's REST endpoints: authorised, paced, bounded in time and size, retried where that can help."""

import logging
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx
import orjson
from pydantic import SecretStr
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt

from pipeline.provider.errors import AstrayError, BusyError, FaultyError, ProviderError, RefusedError, StoppedError
from pipeline.provider.pace import RateLimiter

ATTEMPTS = 5  # of one request; what still fails then fails the chain, which has a pace of its own
BACKOFF_S = (0.25, 8.0)  # of the first and of the longest wait, before jitter
RETRY_AFTER_MOST_S = 15.0  # a longer pause than this is not sat out here: the fetch is given up and planned anew
PAGE_BYTES_MOST = 16 * 1024 * 1024  # a page of 250 rows is a quarter of a megabyte
PAGES_MOST = 400  # the largest chain seen, all of SPX, is 122 pages

# httpx logs every request at INFO: one line a page is noise, and urls are nobody's business.
logging.getLogger("httpx").setLevel(logging.WARNING)

OnRetry = Callable[[ProviderError], None]


def _quiet(_: ProviderError) -> None:
    pass


class Rest:
    """One client for all threads. Every method raises ProviderError and nothing else; no message holds the key."""

    def __init__(
        self, base_url: str, key: SecretStr, *, timeout_s: float, requests_per_s: float, stop: threading.Event,
        connections: int = 4,
    ) -> None:
        self._base = base_url.rstrip("/")
        self._origin = _origin(self._base)
        self._key = key
        self._timeout_s = timeout_s
        self._stop = stop
        self._limiter = RateLimiter(requests_per_s)
        self._client = httpx.Client(
            timeout=timeout_s, follow_redirects=False,
            limits=httpx.Limits(max_connections=connections + 1, max_keepalive_connections=connections + 1),
            headers={"Accept": "application/json", "User-Agent": "marketswarm"},
        )

    def __enter__(self) -> "Rest":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._client.close()

    # --- requests ---
    def get(
        self, path: str, params: Mapping[str, str] | None = None, on_retry: OnRetry = _quiet
    ) -> dict[str, Any]:
        """One JSON object. ``on_retry`` hears of each failure that is tried again."""
        return self._get(self._base + path, params, on_retry)

    def pages(
        self, path: str, params: Mapping[str, str], on_retry: OnRetry = _quiet, pages_most: int = PAGES_MOST
    ) -> Iterator[list[Any]]:
        """The ``results`` of each page in turn. Raises AstrayError for a next_url that must not be followed."""
        url, query = self._base + path, dict(params) or None
        seen: set[str] = set()
        for _ in range(pages_most):
            page = self._get(url, query, on_retry, _check_results)
            yield page["results"]
            following = page.get("next_url")
            if not following:
                return
            url, query = self._next(url, following), None
            if url in seen:
                raise AstrayError("next_url repeats a cursor: the pages go round in a circle")
            seen.add(url)
        raise AstrayError(f"more than {pages_most} pages")

    def _next(self, url: str, following: object) -> str:
        """next_url never holds the key, so it is attached anew; and only ever for the configured origin."""
        if not isinstance(following, str):
            raise FaultyError(f"next_url is {type(following).__name__}, not text")
        try:
            target = urljoin(url, following)
            origin = _origin(target)
        except ValueError:
            raise AstrayError("next_url is not an address") from None
        if origin != self._origin:
            raise AstrayError(f"next_url leads to another host, {_shown(origin)}; only {_shown(self._origin)} is asked")
        return target

    def _get(
        self, url: str, params: Mapping[str, str] | None, on_retry: OnRetry,
        check: Callable[[dict[str, Any]], None] | None = None,
    ) -> dict[str, Any]:
        def attempt() -> dict[str, Any]:
            answer = self._ask(url, params)
            if check is not None:
                check(answer)
            return answer

        def before_sleep(state: RetryCallState) -> None:
            error = state.outcome.exception() if state.outcome else None
            if isinstance(error, ProviderError):
                on_retry(error)

        retrying = Retrying(
            retry=retry_if_exception(_worth_another), stop=stop_after_attempt(ATTEMPTS), wait=_wait_s,
            sleep=self._sleep, before_sleep=before_sleep, reraise=True,
        )
        answer: dict[str, Any] = retrying(attempt)
        return answer

    def _sleep(self, seconds: float) -> None:
        if self._stop.wait(seconds):
            raise StoppedError("stopping")

    def _ask(self, url: str, params: Mapping[str, str] | None) -> dict[str, Any]:
        self._sleep(self._limiter.reserve())
        path = urlsplit(url).path
        try:
            status, headers, body = self._exchange(url, params, path)
        except httpx.TimeoutException:
            raise FaultyError(f"{path}: no answer in {self._timeout_s:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            raise FaultyError(f"{path}: {type(error).__name__}: {self._safe(str(error))}") from None
        if status == 429:
            wait_s = _retry_after_s(headers.get("retry-after"))
            self._limiter.hold(min(wait_s or 0.0, RETRY_AFTER_MOST_S))
            raise BusyError(f"{path}: 429 {self._said(body)}", wait_s)
        if status in (401, 403, 404) or 300 <= status < 400:
            raise RefusedError(f"{path}: {status} {self._said(body)}", status)
        if status != 200:
            raise FaultyError(f"{path}: {status} {self._said(body)}")
        try:
            answer = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise FaultyError(f"{path}: not JSON: {error.msg} at {error.pos} of {len(body)}") from None
        if not isinstance(answer, dict):
            raise FaultyError(f"{path}: a JSON {type(answer).__name__}, not an object")
        return answer

    def _exchange(self, url: str, params: Mapping[str, str] | None, path: str) -> tuple[int, httpx.Headers, bytes]:
        """Bounded as a whole: a body that drips, or never ends, must not hold a worker."""
        deadline = time.monotonic() + self._timeout_s
        authorization = {"Authorization": f"Bearer {self._key.get_secret_value()}"}
        with self._client.stream("GET", url, params=params, headers=authorization) as response:
            body = bytearray()
            for piece in response.iter_bytes():
                body += piece
                if len(body) > PAGE_BYTES_MOST:
                    raise FaultyError(f"{path}: a body of more than {PAGE_BYTES_MOST >> 20} MiB")
                if time.monotonic() > deadline:
                    raise FaultyError(f"{path}: not whole after {self._timeout_s:g} s")
                if self._stop.is_set():
                    raise StoppedError("stopping")
            return response.status_code, response.headers, bytes(body)

    def _said(self, body: bytes) -> str:
        """What the provider gave as its reason, wherever it put it, in a few words."""
        with suppress(orjson.JSONDecodeError):
            answer = orjson.loads(body)
            if isinstance(answer, dict):
                said = answer.get("error") or answer.get("message")
                return self._safe(str(said)) if said else ""
        return self._safe(body[:80].decode(errors="replace")) if not body.lstrip().startswith(b"<") else "(HTML)"

    def _safe(self, text: str) -> str:
        key = self._key.get_secret_value()
        return " ".join((text.replace(key, "***") if key else text).split())[:160]


def _check_results(page: dict[str, Any]) -> None:
    if not isinstance(page.get("results"), list):
        raise FaultyError(f"a page whose results are {type(page.get('results')).__name__}, not a list")


def _worth_another(error: BaseException) -> bool:
    if isinstance(error, BusyError):
        return (error.retry_after_s or 0.0) <= RETRY_AFTER_MOST_S
    return isinstance(error, FaultyError)


def _wait_s(state: RetryCallState) -> float:
    """What the provider asked for, else twice as long each time; jitter, so that workers do not return together."""
    error = state.outcome.exception() if state.outcome else None
    first, most = BACKOFF_S
    backoff = min(most, first * 2.0 ** (state.attempt_number - 1)) * (0.5 + random.random())
    if isinstance(error, BusyError) and error.retry_after_s is not None:
        return error.retry_after_s + 0.1 * backoff
    return backoff


def _retry_after_s(value: str | None) -> float | None:
    """Seconds, or an HTTP date; None for anything else."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            moment = parsedate_to_datetime(value)
        except ValueError:
            return None
        seconds = (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return min(max(seconds, 0.0), 86_400.0) if seconds == seconds else None


def _origin(url: str) -> tuple[str, str, int]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or {"https": 443, "http": 80}.get(parts.scheme, 0)


def _shown(origin: tuple[str, str, int]) -> str:
    return f"{origin[0]}://{origin[1]}:{origin[2]}"
