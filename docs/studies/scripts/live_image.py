"""Screenshot of the page of `lvlmscope app` after a run with an intervention.

python docs/studies/scripts/live_image.py docs/images
"""

import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.sync_api import Page, sync_playwright

from lvlmscope.tiny import scene

SIZES = {"explorer_live.png": (1000, 1180)}


def main(folder: Path) -> None:
    """Starts the server, asks, switches D-LEAF on and writes one image for each of `SIZES`.

    Args:
        folder: Where to.
    """
    command = [sys.executable, "-m", "lvlmscope", "app", "--no-browser"]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server,  # noqa: S603 - this package itself
        sync_playwright() as started,
    ):
        try:
            assert server.stdout is not None
            address = server.stdout.readline().strip()
            browser = started.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            for name, (width, height) in SIZES.items():
                page = browser.new_context(viewport={"width": width, "height": height}, color_scheme="light").new_page()
                page.goto(address)
                ask_and_run(page)
                page.evaluate("document.querySelector('.live').scrollIntoView()")  # a run scrolls to the answer
                page.screenshot(path=folder / name)
            browser.close()
        finally:
            server.terminate()


def ask_and_run(page: Page) -> None:
    """Asks about a bundled scene, and again with D-LEAF on.

    Args:
        page: The server's page.
    """
    with TemporaryDirectory() as folder:
        image = Path(folder, "market.png")
        scene("prior", 3).image.save(image)
        page.set_input_files("[data-role=file]", image)
        page.click("[data-role=ask]")
        page.wait_for_selector("#explorer[data-busy=false]")
    if page.locator("[data-role=run]").is_hidden():  # folded on a telephone
        page.click("[data-role=live] > summary")
    page.wait_for_selector("[data-role=proposals] button")
    page.check("[data-intervention=DLEAF]")
    page.fill("[data-slider='DLEAF.gamma']", "0.5")
    page.click("[data-role=run]")
    page.wait_for_selector(".side >> nth=1", state="attached")
    page.wait_for_selector("[data-role=progress]", state="hidden")
    page.wait_for_selector("#explorer[data-busy=false]")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
