"""A real browser: Debian's Chromium, driven by Playwright. Where one of them is missing its tests are skipped."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.conftest import serve, served  # noqa: F401 (fixtures)

PICTURES = Path(__file__).parent / "screenshots"
"""What the tests saw, for people to look at. Ignored by git."""


@pytest.fixture(scope="module")  # no longer: while it lives an event loop of its own runs in this thread
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium on PATH")
    with playwright.sync_playwright() as driver:
        # A container's root has no user namespace to build the sandbox in; every page opened here is our own.
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def pictures() -> Path:
    PICTURES.mkdir(exist_ok=True)
    return PICTURES
