"""Screenshots of the demo's page.

python docs/studies/scripts/explorer_images.py lvlmscope-demo/page.html docs/images
"""

import shutil
import sys
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

SHOTS: dict[str, dict[str, Any]] = {
    "hero.png": {"viewport": {"width": 1000, "height": 1130}, "color_scheme": "light"},
    "explorer_dark.png": {"viewport": {"width": 1000, "height": 1130}, "color_scheme": "dark"},
    "explorer_narrow.png": {"viewport": {"width": 400, "height": 940}, "color_scheme": "light"},
}


def main(page: Path, folder: Path) -> None:
    """Writes one image for each of `SHOTS`.

    Args:
        page: A report of two traces.
        folder: Where to.
    """
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for name, settings in SHOTS.items():
            opened = browser.new_context(**settings).new_page()
            opened.goto(page.resolve().as_uri())
            opened.wait_for_selector("#explorer[data-busy=false]")
            if name == "explorer_narrow.png":
                opened.select_option("[data-role=shown]", "0")
                opened.wait_for_selector("#explorer[data-busy=false]")
                opened.locator(".side:visible").evaluate("side => side.scrollIntoView()")
            opened.screenshot(path=folder / name)
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
