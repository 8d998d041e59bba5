"""The explorer in JupyterLab itself: its cell, its kernel, its comm and anywidget's half in the browser."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Error, Page, expect

import lvlmscope as lv
from lvlmscope.tiny import scene
from tests.support.browser import note_texts, noted_texts
from tests.support.jupyter_lab import lab_of

PROMPT = "Describe the image."
TOKENS = 12
PATIENCE = 180_000  # milliseconds for what a kernel does on a busy machine
CELL = f"""
import lvlmscope as lv
model = lv.load("tiny")
image = lv.tiny.scene("prior", 3).image
trace = lv.trace(model, image, "{PROMPT}", max_new_tokens={TOKENS}, hidden_states=False)
lv.explore(trace, model=model)
""".strip()
# anywidget imports a widget's code from an address of its own; what fails around it, it tells in its own name
WIDGETS = ("blob:", "anywidget")


@pytest.fixture
def notebook(browser: Browser, tmp_path: Path) -> Iterator[Page]:
    """The notebook in JupyterLab; at the end nothing may have gone wrong in the widget's code."""
    told: list[str] = []

    def listen(message: ConsoleMessage) -> None:
        if message.type == "error":
            told.append(f"{message.location.get('url')}: {message.text}")

    def caught(error: Error) -> None:
        told.append(f"{error.message}\n{error.stack}")

    with lab_of(tmp_path, CELL) as address:
        context = browser.new_context(viewport={"width": 1500, "height": 1000}, color_scheme="light")
        context.set_default_timeout(PATIENCE)
        page = context.new_page()
        page.on("console", listen)
        page.on("pageerror", caught)
        try:
            page.goto(address)
            yield page
        finally:
            context.close()
    assert [each for each in told if any(name in each for name in WIDGETS)] == []


def run_the_first_cell(notebook: Page) -> None:
    """Run it as a user would: again where JupyterLab dropped it.

    JupyterLab calls a kernel idle before it has begun to start one, and forgets without a word what it was given to
    run before it is connected to it: the cell's number is empty again then.
    """
    cell = notebook.locator(".jp-Notebook .jp-CodeCell").first
    number, latest = cell.locator(".jp-InputPrompt"), time.monotonic() + PATIENCE / 1000
    expect(number).to_have_text("[ ]:", timeout=PATIENCE)
    while (shown := number.inner_text()) != "[1]:":
        assert time.monotonic() < latest, f"the cell did not run: {shown}"
        if shown == "[ ]:":
            cell.locator(".cm-content").click()
            notebook.keyboard.press("Shift+Enter")
        notebook.wait_for_timeout(2_000)


@pytest.mark.slow
def test_a_cell_an_intervention_and_the_second_answer(notebook: Page) -> None:
    model, image = lv.load("tiny", check=False), scene("prior", 3).image
    before, after = (
        lv.trace(model, image, PROMPT, max_new_tokens=TOKENS, hidden_states=False, interventions=each)
        for each in ((), lv.DLEAF(gamma=0.5))
    )
    assert before.answer != after.answer

    run_the_first_cell(notebook)
    explorer = notebook.locator(".jp-OutputArea-output .lvx")
    words = explorer.locator(".words")
    drawn = notebook.locator(".jp-OutputArea-output .lvx[data-busy=false]")
    expect(words).to_be_visible(timeout=PATIENCE)
    expect(words).to_have_text(before.answer.strip(), timeout=PATIENCE)
    expect(drawn).to_be_attached(timeout=PATIENCE)
    expect(explorer.locator("[data-role=progress]")).to_be_hidden(timeout=PATIENCE)
    assert explorer.locator("[data-role=diagnosis]").count() == 1

    explorer.locator("[data-intervention=DLEAF]").check()
    explorer.locator("[data-parameter='DLEAF.gamma']").fill("0.5")
    note_texts(notebook, "[data-role=run-tokens]")
    explorer.locator("[data-role=run]").click()
    expect(words).to_have_count(2, timeout=PATIENCE)
    expect(words.nth(0)).to_have_text(before.answer.strip(), timeout=PATIENCE)
    expect(words.nth(1)).to_have_text(after.answer.strip(), timeout=PATIENCE)
    expect(explorer.locator("[data-role=effect]")).to_contain_text("DLEAF: edited", timeout=PATIENCE)
    expect(drawn).to_be_attached(timeout=PATIENCE)
    expect(explorer.locator("[data-role=progress]")).to_be_hidden(timeout=PATIENCE)
    expect(explorer.locator("[role=alert]:visible")).to_have_count(0)
    assert f"token 1 of at most {TOKENS}" in noted_texts(notebook)  # sent while the cell's kernel was at work

    # Numbers that the kernel sent as bytes
    word = [each.get_attribute("aria-pressed") for each in words.nth(1).locator("button").all()].index("true")
    shown = float(explorer.locator("[data-role=map-text]").nth(1).get_attribute("data-sum") or "nan")
    exact = after.attention[word][..., after.image_keys].sum(-1).mean().item()
    assert shown == pytest.approx(exact, rel=1e-5)
