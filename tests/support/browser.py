"""Pages opened in headless Chromium, in which a console error or a request that leaves the page is a failure."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, sync_playwright

REQUIRED = "LVLMSCOPE_REQUIRE_BROWSER"  # set in .ci/run: there a missing browser is a failure
MISSING = "Chromium is needed to test the pages: apt-get install -y chromium"


@contextmanager
def chromium() -> Iterator[Browser]:
    """The system's Chromium.

    One test module at a time: Playwright's event loop must not run when notebooks are tested.
    """
    found = next(
        (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), ""
    )
    if not found:
        assert os.environ.get(REQUIRED) != "1", MISSING
        pytest.skip(MISSING)
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=found, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(
    browser: Browser, path: Path, *, width: int = 1200, scheme: Any = "light", ready: bool = True
) -> Iterator[Page]:
    """A file in a fresh context; at the end nothing may have gone wrong in it or left it."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    trouble: list[str] = []
    page = context.new_page()

    def guard(route: Route) -> None:
        if route.request.url == path.as_uri():
            route.continue_()
        else:
            trouble.append(f"request to {route.request.url[:80]}")
            route.abort()

    context.route(lambda url: not url.startswith("data:"), guard)
    page.on("console", lambda told: trouble.append(told.text) if told.type == "error" else None)
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on("dialog", lambda dialog: (trouble.append(dialog.message), dialog.dismiss()))
    try:
        page.goto(path.as_uri())
        if ready:
            settled(page)
        yield page
        assert trouble == []
    finally:
        context.close()


def settled(page: Page) -> None:
    """Waits until the latest choice is drawn."""
    page.wait_for_selector("#explorer[data-busy=false]", timeout=20_000)


def pixel(page: Page, selector: str, x: float, y: float) -> tuple[int, ...]:
    """Red, green and blue at a place of a canvas, given as shares of its width and height."""
    script = """([selector, x, y]) => {
        const canvas = document.querySelector(selector);
        const at = [Math.floor(canvas.width * x), Math.floor(canvas.height * y), 1, 1];
        return Array.from(canvas.getContext("2d").getImageData(...at).data);
    }"""
    return tuple(page.evaluate(script, [selector, x, y])[:3])


def note_texts(page: Page, selector: str) -> None:
    """From now on, each text that the element shows is noted, for `noted_texts`."""
    script = """(selector) => {
        window.textObserver?.disconnect();
        window.notedTexts = [];
        const note = () => {
            const element = document.querySelector(selector);
            const text = element && !element.hidden ? element.textContent : "";
            if (text !== window.notedTexts.at(-1)) window.notedTexts.push(text);
        };
        window.textObserver = new MutationObserver(note);
        window.textObserver.observe(
            document.body, { subtree: true, childList: true, characterData: true, attributes: true });
    }"""
    page.evaluate(script, selector)


def noted_texts(page: Page) -> list[str]:
    """The texts that were noted, in their order; empty ones where it was hidden."""
    found: list[str] = page.evaluate("window.notedTexts")
    return found
