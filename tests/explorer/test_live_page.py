"""The live page in a real browser: in a local server's page and as a notebook shows it."""

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

import lvlmscope as lv
from lvlmscope import Trace
from lvlmscope.explorer.app_session import AppSession
from lvlmscope.explorer.requests import LiveExplorer
from lvlmscope.tiny import scene
from tests.explorer.test_widget import harness
from tests.support.browser import note_texts, noted_texts, opened, settled
from tests.support.local_app import served

PROMPT = "Describe the image."
SECOND = ".side >> nth=1"


@pytest.fixture(scope="module")
def model() -> Any:
    return lv.load("tiny", check=False)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "market.png"
    scene("prior", 3).image.save(path)
    return path


@pytest.fixture(scope="module")
def trace(model: Any) -> Trace:
    return lv.trace(model, scene("prior", 3).image, PROMPT, max_new_tokens=14)


@pytest.fixture
def app(browser: Browser, model: Any) -> Iterator[Page]:
    """The server's page; at the end nothing may have gone wrong in it or been asked of others."""
    trouble: list[str] = []
    with served(AppSession(model)) as address:
        context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light")
        page = context.new_page()
        page.on("console", lambda told: trouble.append(told.text) if told.type == "error" else None)
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on("request", lambda each: trouble.append(each.url) if not each.url.startswith(own) else None)
        own = (address.split("?")[0], "blob:" + address.split("/?")[0], "data:")
        try:
            page.goto(address)
            yield page
        finally:
            context.close()
    assert trouble == []


def ask(page: Page, image: Path, tokens: int = 14) -> None:
    page.set_input_files("[data-role=file]", image)
    page.fill("[data-role=max-new-tokens]", str(tokens))
    page.click("[data-role=ask]")
    settled(page)


def run(page: Page) -> None:
    page.click("[data-role=run]")
    expect(page.locator("[data-role=run-progress]")).to_be_hidden(timeout=30_000)


def read_live(page: Page, live: LiveExplorer) -> list[dict[str, Any]]:
    asked: list[dict[str, Any]] = []

    def answer(content: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
        asked.append(content)
        told, buffers = live.answer(content)
        return told, [base64.b64encode(each).decode() for each in buffers]

    page.expose_function("askPython", answer)
    page.evaluate("window.begin()")
    settled(page)
    expect(page.locator("[data-role=progress]")).to_be_hidden(timeout=30_000)
    return asked


@contextmanager
def live_page(
    browser: Browser, live: LiveExplorer, folder: Path, **options: Any
) -> Iterator[tuple[Page, list[dict[str, Any]]]]:
    """A page as a notebook shows it, and what it has asked Python for."""
    with opened(browser, harness(folder, live.values), ready=False, **options) as page:
        yield page, read_live(page, live)


def test_a_question_an_intervention_and_the_second_answer(app: Page, image: Path, trace: Trace, model: Any) -> None:
    assert "token" not in app.url
    ask(app, image)
    words = app.locator(".words").inner_text().split()
    assert words == trace.answer.split()
    expect(app.locator("[data-role=run]")).to_be_disabled()
    app.check("[data-intervention=DLEAF]")
    app.fill("[data-parameter='DLEAF.gamma']", "0.5")
    run(app)
    after = lv.trace(model, image, PROMPT, max_new_tokens=14, interventions=lv.DLEAF(gamma=0.5))
    expect(app.locator(".words").nth(1)).to_be_visible()
    settled(app)
    assert app.locator(".words").nth(1).inner_text().split() == after.answer.split()
    assert "DLEAF: edited" in app.inner_text("[data-role=effect]")
    shown = float(app.locator("[data-role=map-text]").nth(1).get_attribute("data-sum") or "nan")
    step = [button.get_attribute("aria-pressed") for button in app.locator(".words >> nth=1 >> button").all()]
    exact = after.attention[step.index("true")][..., after.image_keys].sum(-1).mean().item()
    assert shown == pytest.approx(exact, rel=1e-5)


def test_the_bar_counts_tokens(app: Page, image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lvlmscope.explorer.requests._SECONDS", 0)  # every one is sent
    note_texts(app, "[data-role=ask-tokens]")
    ask(app, image, tokens=9)
    # Some come together, and a page need not show each
    shown = [each for each in noted_texts(app) if each]
    every = [f"token {number} of at most 9" for number in range(1, 10)]
    assert len(shown) > 1
    assert shown == [each for each in every if each in shown]
    assert noted_texts(app)[-1] == ""
    expect(app.locator("[data-role=ask-progress]")).to_be_hidden()
    note_texts(app, "[data-role=run-tokens]")
    app.check("[data-intervention=CLVA]")
    run(app)
    shown = [each for each in noted_texts(app) if each]
    assert len(shown) > 1
    assert shown == [each for each in every if each in shown]
    assert app.locator("[data-role=run-progress]").get_attribute("max") == "9"
    expect(app.locator("[data-role=run-tokens]")).to_be_hidden()


def test_a_defect_is_told_from_a_server_that_is_gone(
    app: Page, image: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr(AppSession, "_asked", broken)
    app.set_input_files("[data-role=file]", image)
    app.click("[data-role=ask]")
    expect(app.locator("[data-role=ask-error]")).to_have_text(
        "interrupted, or a defect: the terminal has the traceback"
    )
    monkeypatch.undo()
    ask(app, image)
    expect(app.locator(".words")).to_be_visible()
    assert "a defect" in caplog.text


def test_what_is_typed_while_an_answer_is_made_keeps_its_place(app: Page, image: Path) -> None:
    ask(app, image)
    for name in ("DLEAF", "CLVA"):
        app.check(f"[data-intervention={name}]")
    place = "[data-parameter='CLVA.alpha']"
    app.evaluate(
        "([run, place]) => { document.querySelector(run).click(); document.querySelector(place).select(); }",
        ["[data-role=run]", place],
    )
    app.keyboard.type("0.")
    expect(app.locator("[data-role=run-progress]")).to_be_hidden(timeout=30_000)
    expect(app.locator(".words").nth(1)).to_be_visible()
    expect(app.locator(place)).to_be_focused()
    app.keyboard.type("25")
    expect(app.locator(place)).to_have_value("0.25")


def test_the_traces_are_saved_by_the_names_that_copied_code_loads(app: Page, image: Path, tmp_path: Path) -> None:
    ask(app, image)
    names = ["trace.safetensors", "trace_with_intervention.safetensors"]
    expect(app.locator("[data-role=trace-files] button")).to_have_text(names[:1])
    app.check("[data-intervention=DLEAF]")
    app.click("[data-role=run]")
    expect(app.locator("[data-role=trace-files] button")).to_have_text(names, timeout=60_000)
    for name in names:
        with app.expect_download() as caught:
            app.click(f"[data-file='{name}']")
        assert caught.value.suggested_filename == name
        caught.value.save_as(tmp_path / name)
    before, after = (lv.load_trace(tmp_path / name) for name in names)
    assert (before.effects, after.effects[0]["name"]) == ((), "DLEAF")


def test_what_is_refused_is_said_below_the_form(app: Page, image: Path, tmp_path: Path) -> None:
    app.click("[data-role=ask]")
    assert app.inner_text("[data-role=ask-error]") == "Choose an image first."
    eps = tmp_path / "drawing.png"
    eps.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n")
    app.set_input_files("[data-role=file]", eps)
    app.click("[data-role=ask]")
    expect(app.locator("[data-role=ask-error]")).to_contain_text("EPS in the bytes")
    ask(app, image, tokens=3)
    expect(app.locator("[data-role=ask-error]")).to_be_hidden()


def test_an_image_is_dropped_onto_the_form(app: Page, image: Path) -> None:
    script = """(text) => {
        const bytes = Uint8Array.from(atob(text), (each) => each.charCodeAt(0)), data = new DataTransfer();
        data.items.add(new File([bytes], "dropped.png", { type: "image/png" }));
        document.querySelector(".drop").dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true }));
    }"""
    app.evaluate(script, base64.b64encode(image.read_bytes()).decode())
    expect(app.locator(".drop")).to_contain_text("dropped.png")
    expect(app.locator(".drop img")).to_be_visible()
    app.fill("[data-role=max-new-tokens]", "2")
    app.click("[data-role=ask]")
    settled(app)


def test_what_is_chosen_stays_over_a_run(browser: Browser, trace: Trace, model: Any, tmp_path: Path) -> None:
    live = LiveExplorer(trace, model)
    with live_page(browser, live, tmp_path) as (page, asked):
        parts = [each for each in asked if each["kind"] == "part"]
        page.locator(".words button").nth(2).click()
        page.select_option("[data-role=low]", "3")
        page.select_option("[data-role=signal]", "entropy")
        page.locator("[data-role=links-fold] > summary").click()
        settled(page)
        page.check("[data-intervention=LocoRE]")
        run(page)
        expect(page.locator("[data-role=progress]")).to_be_hidden(timeout=30_000)
        settled(page)
        pressed = page.locator(".words button[aria-pressed=true]").all_inner_texts()
        assert pressed[0] == trace.answer.split()[2]
        assert page.input_value("[data-role=low]") == "3"
        assert page.input_value("[data-role=signal]") == "entropy"
        assert page.input_value("[data-role=shown]") == "both"
        assert page.locator("[data-role=links-fold]").first.get_attribute("open") is not None
        assert page.is_checked("[data-intervention=LocoRE]")
        again = [each for each in asked if each["kind"] == "part"][len(parts) :]
        assert {each["side"] for each in again} == {1}  # what is known of the first answer is not asked again
        assert page.locator("[data-role=diagnosis]").count() == 2
        said = page.locator("[data-role=diagnosis]").first
        assert "diagnosis.apply" not in said.inner_text()  # there are buttons
        judged = said.locator("td button").last
        judged.click()
        assert page.locator(".words button[aria-pressed=true]").first.inner_text() == judged.inner_text()
        page.evaluate("window.end()")
        assert page.evaluate("window.listening()") == 0


def test_a_proposal_is_one_click(browser: Browser, trace: Trace, model: Any, tmp_path: Path) -> None:
    live = LiveExplorer(trace, model)
    proposed = lv.diagnose(trace, model=model).intervention()
    with live_page(browser, live, tmp_path) as (page, _):
        page.check("[data-intervention=VCD]")
        page.locator("[data-role=proposals] button").first.click()
        expect(page.locator(SECOND)).to_be_visible(timeout=30_000)
        checked = [each.get_attribute("data-intervention") for each in page.locator(".switches input:checked").all()]
        assert checked == [proposed.name]
        assert live.latest is not None
        expected = lv.trace(
            model, scene("prior", 3).image, PROMPT, max_new_tokens=14, interventions=proposed.intervention
        )
        assert live.latest.answer_ids.tolist() == expected.answer_ids.tolist()
        assert live.latest.provenance["interventions"] == expected.provenance["interventions"]


@pytest.mark.usefixtures("unchecked_shapes")
def test_an_error_is_one_sentence_and_the_page_goes_on(
    browser: Browser, trace: Trace, model: Any, tmp_path: Path
) -> None:
    live = LiveExplorer(trace, model)
    with live_page(browser, live, tmp_path) as (page, _):
        page.check("[data-intervention=DLEAF]")
        for text, told in (("3", "got gamma=3; expected: a number from 0 to 1"), ("", "gamma=None")):
            page.fill("[data-parameter='DLEAF.gamma']", text)
            run(page)
            assert told in page.inner_text("[data-role=run-error]")
        assert page.locator(".side").count() == 1
        page.fill("[data-slider='DLEAF.gamma']", "0.3")
        assert page.input_value("[data-parameter='DLEAF.gamma']") == "0.3"
        run(page)
        expect(page.locator("[data-role=run-error]")).to_be_hidden()
        assert page.locator(".side").count() == 2
        assert live.latest is not None
        assert live.latest.provenance["interventions"][0]["parameters"]["gamma"] == 0.3


def test_a_run_shows_a_bar_and_cannot_be_started_twice(
    browser: Browser, trace: Trace, model: Any, tmp_path: Path
) -> None:
    live = LiveExplorer(trace, model)
    with live_page(browser, live, tmp_path) as (page, _):
        page.check("[data-intervention=DLEAF]")
        page.evaluate("() => { window.askPython = () => new Promise(() => {}); }")
        page.click("[data-role=run]")
        expect(page.locator("[data-role=run-progress]")).to_be_visible()
        expect(page.locator("[data-role=run]")).to_be_disabled()
        for button in page.locator("[data-role=proposals] button").all():
            expect(button).to_be_disabled()


@pytest.mark.parametrize("width", [400, 1280])
def test_the_panel_fits(browser: Browser, trace: Trace, model: Any, tmp_path: Path, width: int) -> None:
    live = LiveExplorer(trace, model)
    with live_page(browser, live, tmp_path, width=width) as (page, _):
        if width == 400:
            assert page.locator("[data-role=run]").is_hidden()  # folded on a telephone
            page.locator("[data-role=live] > summary").click()
        for name in ("CLVA", "HeadRescaling", "ICD"):
            page.check(f"[data-intervention={name}]")
        assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize(("width", "height"), [(1280, 900), (400, 800)])
def test_each_step_leads_to_the_next(app: Page, image: Path, width: int, height: int) -> None:
    app.set_viewport_size({"width": width, "height": height})
    app.click("[data-role=ask]")
    expect(app.locator("[data-role=ask-error]")).to_be_visible()
    app.set_input_files("[data-role=file]", image)
    expect(app.locator("[data-role=ask-error]")).to_be_hidden()
    app.click("[data-role=ask]")
    settled(app)
    expect(app.locator("[data-role=ask]")).to_be_focused()
    expect(app.locator(".words")).to_be_in_viewport(ratio=0.99)
    expect(app.locator("[data-role=progress]")).to_be_hidden(timeout=30_000)
    suspected = app.locator("[data-role=suspected] button").first
    suspected.click()
    settled(app)
    pressed = app.locator(".words button[aria-pressed=true]").inner_text()
    assert suspected.inner_text().startswith(f"“{pressed}” ")
    if width == 400:
        app.locator("[data-role=live] > summary").click()
    app.locator("[data-role=proposals] button").first.click()
    expect(app.locator(SECOND)).to_be_visible(timeout=30_000)
    expect(app.locator(".words").nth(1)).to_be_in_viewport(ratio=0.99)
    expect(app.locator("[data-role=run]")).to_be_focused()
    assert app.evaluate("document.documentElement.scrollWidth") <= width


def test_the_words_most_at_risk_are_named_in_their_order(browser: Browser, trace: Trace, tmp_path: Path) -> None:
    found = lv.diagnose(trace)
    ranked = [word.text for word in sorted(found.words, key=lambda word: -word.risk)]
    with opened(browser, lv.report(trace, tmp_path / "case.html")) as page:
        named = page.locator("[data-role=suspected] button").all_inner_texts()
        assert [text.split("”")[0].strip("“") for text in named] == ranked[:3]
        assert page.inner_text("[data-role=suspected]").startswith("highest risk of being hallucinated: “")
    marked = lv.report(trace, tmp_path / "marked.html", hallucinated=[2])
    with opened(browser, marked) as page:  # the marks already say it
        expect(page.locator("[data-role=suspected]").first).to_be_hidden()
