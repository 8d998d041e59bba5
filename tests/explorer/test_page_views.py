"""Each view of the page in a real browser: its numbers are the trace's, it is worked by pointer and by keys."""

import json
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

import lvlmscope as lv
from lvlmscope import Trace, report
from lvlmscope.diagnostics import planted_trace
from lvlmscope.explorer.word_maps import WordMaps
from lvlmscope.tiny import scene
from tests.explorer.test_given_maps import by_key, by_parts
from tests.support.browser import opened, settled
from tests.support.varied_traces import varied_trace

ROUNDING = 2 / 254
MAP = ".image canvas"
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def trace() -> Trace:
    return varied_trace(gradients=True, steps=6)


@pytest.fixture(scope="module")
def written(trace: Trace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    maps = [by_parts(), by_key(trace)]
    return report(trace, tmp_path_factory.mktemp("page") / "case.html", hallucinated=[3], maps=maps)


def unfold(page: Page, role: str) -> None:
    page.locator(f"[data-role={role}] > summary").click()
    page.wait_for_timeout(50)  # `toggle` comes in a task of its own
    settled(page)


def word(page: Page, number: int) -> None:
    page.locator(".words button").nth(number).click()
    settled(page)


def sum_of(page: Page, role: str) -> float:
    return float(page.locator(f"[data-role={role}]").get_attribute("data-sum") or "nan")


def chosen(page: Page) -> list[str]:
    return [page.locator(f"[data-role={role}]").input_value() for role in ("low", "high", "head")]


def at_patch(page: Page, row: float, column: float) -> dict[str, float]:
    """The place on the map of a patch, 4 x 4 of them, from its top left corner."""
    box = page.locator(MAP).bounding_box()
    assert box is not None
    return {"x": box["width"] * column / 4, "y": box["height"] * row / 4}


def test_all_heads_are_shown_and_one_is_chosen(browser: Browser, trace: Trace, written: Path) -> None:
    with opened(browser, written) as page:
        word(page, 2)
        unfold(page, "grid-fold")
        grid = page.locator("[data-role=grid]")
        box = grid.bounding_box()
        assert box is not None
        across = (box["width"] - 44) / 4
        spot = {"x": 40 + 1.5 * across, "y": 4 + 0.5 * across}  # head 1 of the top layer
        grid.hover(position=spot)
        exact = float(trace.attention[2, 2, 1, trace.image_keys].sum())
        assert f"layer 2, head 1: {exact:.3g} share of 1 on the image" in page.inner_text("[data-role=grid-text]")
        own = grid.evaluate("canvas => canvas.toDataURL()")
        page.select_option("[data-role=grid-scale]", "shared")
        assert grid.evaluate("canvas => canvas.toDataURL()") != own
        grid.click(position=spot)
        settled(page)
        assert chosen(page) == ["2", "2", "1"]
        assert sum_of(page, "map-text") == pytest.approx(exact, rel=ROUNDING)


def test_the_grid_is_worked_with_keys(browser: Browser, written: Path) -> None:
    with opened(browser, written) as page:
        unfold(page, "grid-fold")
        page.locator("[data-role=grid]").focus()
        for key in ("ArrowUp", "ArrowUp", "ArrowRight", "Enter"):
            page.keyboard.press(key)
        settled(page)
        assert chosen(page) == ["1", "1", "1"]
        page.keyboard.press("Escape")
        settled(page)
        assert chosen(page) == ["0", "2", "all"]


def test_layers_are_played_one_by_one(browser: Browser, trace: Trace, written: Path) -> None:
    with opened(browser, written) as page:
        word(page, 1)
        page.locator("[data-role=layer]").fill("1")
        settled(page)
        assert chosen(page) == ["1", "1", "all"]
        exact = float(trace.attention[1, 1][:, trace.image_keys].sum(-1).mean())
        assert sum_of(page, "map-text") == pytest.approx(exact, rel=ROUNDING)
        page.click("[data-role=play]")
        expect(page.locator("[data-role=low]")).to_have_value("2")
        expect(page.locator("[data-role=play]")).to_have_text("play")
        assert chosen(page) == ["2", "2", "all"]  # it ends at the last layer


def test_relevance_is_summed_over_the_chosen_layers(browser: Browser, trace: Trace, written: Path) -> None:
    maps = WordMaps(trace)
    with opened(browser, written) as page:
        word(page, 4)
        page.select_option("[data-role=quantity]", "relevance")
        settled(page)
        whole = float(maps.over_image("relevance", 4, layers=[0, 1, 2], head=None).sum())
        assert sum_of(page, "map-text") == pytest.approx(whole, rel=ROUNDING)
        page.select_option("[data-role=low]", "1")
        settled(page)
        part = float(maps.over_image("relevance", 4, layers=[1, 2], head=None).sum())
        assert sum_of(page, "map-text") == pytest.approx(part, rel=ROUNDING)
        assert part < whole
        assert "sum over layers" in page.inner_text(".pair .legend >> nth=0")


def test_given_maps_are_shown_for_the_words_that_have_them(browser: Browser, trace: Trace, written: Path) -> None:
    with opened(browser, written) as page:
        page.select_option("[data-role=quantity]", label="occlusion")
        settled(page)
        assert page.locator(".words button[aria-pressed=true]").inner_text() == "word3"
        assert sum_of(page, "map-text") == pytest.approx(float(by_parts().values[1].sum()))
        assert page.locator("[data-role=heat]").is_hidden()
        assert page.inner_text(".pair .legend >> nth=0").startswith("-7")  # signed, white at 0
        word(page, 2)
        assert "was not computed for this word" in page.inner_text("[data-role=map-text]")
        page.select_option("[data-role=quantity]", label="integrated gradients")
        settled(page)
        assert sum_of(page, "map-text") == pytest.approx(float(by_key(trace).values[2].sum()), abs=1e-6)


def test_lines_lead_to_the_words_before(browser: Browser, trace: Trace, written: Path) -> None:
    first = trace.num_prompt_keys
    with opened(browser, written) as page:
        unfold(page, "links-fold")
        word(page, 4)
        exact = trace.attention[4, ..., first : first + 4].mean((0, 1))
        assert sum_of(page, "links-text") == pytest.approx(float(exact.sum()), rel=ROUNDING)
        assert f"most on “word{int(exact.argmax())}”" in page.inner_text("[data-role=links-text]")
        links = page.locator("[data-role=links]")
        drawn = links.evaluate("canvas => canvas.toDataURL()")
        box = links.bounding_box()
        assert box is not None
        links.click(position={"x": 8 + (box["width"] - 16) * 2 / 5, "y": 96})
        settled(page)
        assert page.locator(".words button[aria-pressed=true]").inner_text() == "word2"
        assert links.evaluate("canvas => canvas.toDataURL()") != drawn


def test_a_clicked_patch_leads_to_the_words_that_attend_to_it(browser: Browser, tmp_path: Path) -> None:
    trace = planted_trace(steps=5, patch=None)
    trace.attention[3, ..., 1 + 6] = 0.9
    exact = WordMaps(trace).on_cells("attention", [6], layers=range(trace.num_layers), head=None)
    with opened(browser, report(trace, tmp_path / "case.html")) as page:
        page.locator(MAP).click(position=at_patch(page, 1.5, 2.5))
        settled(page)
        listed = page.locator("[data-role=patch-words] th").all_inner_texts()
        assert listed[0] == "word3"
        shown = page.locator("[data-role=patch-words] [data-word='3']").get_attribute("data-value")
        assert float(shown or "nan") == pytest.approx(exact[3], rel=ROUNDING)
        assert "attention on the selected patches" in page.inner_text("[data-role=shading]")
        assert page.locator(".words button").nth(3).evaluate("b => b.style.getPropertyValue('--shade')") == "1.000"
        page.click("[data-role=clear-patches]")
        settled(page)
        assert page.locator(".patch-words").is_hidden()


def test_a_box_is_dragged_over_patches_and_keys_do_the_same(browser: Browser, trace: Trace, written: Path) -> None:
    exact = WordMaps(trace).on_cells("attention", [5, 6, 9, 10], layers=[0, 1, 2], head=None)
    with opened(browser, written) as page:
        box = page.locator(MAP).bounding_box()
        assert box is not None
        for press, (row, column) in (("down", (0.8, 0.8)), ("up", (3.2, 3.2))):
            spot = at_patch(page, row, column)
            page.mouse.move(box["x"] + spot["x"], box["y"] + spot["y"])
            getattr(page.mouse, press)()
        settled(page)
        assert page.url.endswith("patches=5,6,9,10")
        best = page.locator("[data-role=patch-words] td.number").first
        assert float(best.get_attribute("data-value") or "nan") == pytest.approx(float(exact.max()), rel=2 * ROUNDING)
        page.locator(MAP).focus()
        page.keyboard.press("Escape")
        settled(page)
        for key in ("ArrowRight", "ArrowRight", "ArrowDown", "Enter", "ArrowRight", "Enter"):
            page.keyboard.press(key)
            settled(page)
        assert page.url.endswith("patches=5,6")


def test_the_table_of_words_is_sorted_by_a_signal(browser: Browser, trace: Trace, written: Path) -> None:
    order = [f"word{n}" for n in np.argsort(-trace.attention[..., trace.image_keys].sum(-1).mean((1, 2)).numpy())]
    with opened(browser, written) as page:
        unfold(page, "table-fold")
        rows = page.locator("[data-role=word-table] tbody th")
        assert rows.all_inner_texts() == [f"word{n}" for n in range(6)]
        page.click("[data-sort=image_attention_focus]")
        assert rows.all_inner_texts() == order
        heading = page.locator("[data-role=word-table] th", has=page.locator("[data-sort=image_attention_focus]"))
        assert heading.get_attribute("aria-sort") == "descending"
        page.keyboard.press("Enter")  # the heading keeps the focus
        assert rows.all_inner_texts() == order[::-1]
        page.click("[data-sort=saliency_to_previous]")
        assert rows.all_inner_texts()[-1] == "word0"  # not defined: last, up or down
        page.keyboard.press("Enter")
        assert rows.all_inner_texts()[-1] == "word0"
        rows.nth(0).locator("button").click()
        settled(page)
        assert page.locator(".words button[aria-pressed=true]").inner_text() == rows.nth(0).inner_text()


def test_an_address_leads_to_its_state_and_states_to_addresses(browser: Browser, trace: Trace, written: Path) -> None:
    with opened(browser, written) as page:
        page.goto(f"{written.as_uri()}#word=4&layers=1-2&head=3&map=saliency&signal=entropy&patches=2")
        expect(page.locator(".words button").nth(4)).to_have_attribute("aria-pressed", "true")
        settled(page)
        assert chosen(page) == ["1", "2", "3"]
        assert page.locator("[data-role=quantity]").input_value() == "saliency"
        assert page.locator(".patch-words").is_visible()
        exact = WordMaps(trace).over_image("saliency", 4, layers=[1, 2], head=3).sum()
        assert sum_of(page, "map-text") == pytest.approx(float(exact), rel=ROUNDING)
        word(page, 5)
        page.click("[data-role=reset]")
        settled(page)
        assert "#word=5&map=saliency&signal=entropy" in page.url
        page.goto(f"{written.as_uri()}#word=word1")
        expect(page.locator(".words button").nth(1)).to_have_attribute("aria-pressed", "true")


@pytest.mark.parametrize(
    "asked", ["word=99&layer=7&head=-1", "layers=2-1&map=%3Cb%3E&signal=x", "patches=99,a,,-3&answer=2", "%%"]
)
def test_what_an_address_asks_for_and_is_not_there_is_left(browser: Browser, written: Path, asked: str) -> None:
    with opened(browser, written) as page:
        before = (chosen(page), page.locator(".words button[aria-pressed=true]").inner_text())
        page.evaluate("asked => { location.hash = asked; }", asked)
        page.wait_for_timeout(100)
        settled(page)
        assert (chosen(page), page.locator(".words button[aria-pressed=true]").inner_text()) == before
        assert page.locator("[role=alert]:visible").count() == 0


VIEWS = {"map": (".pair figure.map", 1), "heat": (".pair figure:not(.map)", 1), "line": (".side > div:has(.line)", 0)}


@pytest.mark.parametrize("view", VIEWS)
def test_a_figure_is_saved_as_png_and_svg(browser: Browser, written: Path, tmp_path: Path, view: str) -> None:
    place, bars = VIEWS[view]
    with opened(browser, written, scheme="dark") as page:
        for kind in ("png", "svg"):
            with page.expect_download() as waiting:
                page.locator(f"{place} [data-role={kind}]").first.click()
            waiting.value.save_as(tmp_path / f"figure.{kind}")
            assert waiting.value.suggested_filename.endswith(f".{kind}")
    picture = Image.open(tmp_path / "figure.png").convert("RGB")
    root = ET.parse(tmp_path / "figure.svg").getroot()
    size = (float(root.get("width") or 0), float(root.get("height") or 0))
    assert picture.size == pytest.approx((2 * size[0], 2 * size[1]), abs=2)
    assert picture.getpixel((3, 3)) == (255, 255, 255)  # light in a dark page, too
    assert len(picture.getcolors(picture.width * picture.height) or []) > 8
    texts = [each.text or "" for each in root.iter(f"{SVG}text")]
    assert any("word3" in text or "word by word" in text for text in texts)
    assert bars * 60 < len(list(root.iter(f"{SVG}rect")))  # with its colour bar


def test_hostile_texts_stay_texts_in_a_saved_figure(browser: Browser, tmp_path: Path) -> None:
    bad = "\"/><script>alert(1)</script><image href='x' onerror='alert(1)'/>&amp;\x01"
    trace = varied_trace(steps=4)
    tokens = (bad, *trace.answer_tokens[1:])
    path = report(replace(trace, answer_tokens=tokens, answer="".join(tokens)), tmp_path / "case.html", diagnosis=False)
    with opened(browser, path) as page:
        with page.expect_download() as waiting:
            page.locator("figure.map [data-role=svg]").click()
        waiting.value.save_as(tmp_path / "figure.svg")
    root = ET.parse(tmp_path / "figure.svg").getroot()
    assert {each.tag for each in root.iter()} <= {
        f"{SVG}{tag}" for tag in ("svg", "g", "rect", "path", "text", "image")
    }
    assert all(str(each.get("href")).startswith("data:image/png") for each in root.iter(f"{SVG}image"))


@pytest.mark.parametrize("quantity", ["attention", "saliency", "relevance"])
def test_the_copied_code_draws_the_same_numbers(
    browser: Browser, trace: Trace, written: Path, monkeypatch: pytest.MonkeyPatch, quantity: str
) -> None:
    drawn: dict[str, Any] = {}
    monkeypatch.setattr(lv, "load_trace", lambda _: trace)
    monkeypatch.setattr(lv.plot, "overlay", lambda *given, **options: drawn.update(overlay=(given, options)))
    monkeypatch.setattr(lv.plot, "heatmap", lambda *given, **options: drawn.update(heatmap=(given, options)))
    with opened(browser, written) as page:
        page.select_option("[data-role=quantity]", quantity)
        page.select_option("[data-role=low]", "1")
        settled(page)
        codes = []
        for place in ("figure.map", ".pair figure:not(.map)"):
            page.locator(f"{place} [data-role=copy-code]").click()
            codes.append(page.locator(f"{place} [data-role=code]").inner_text())
    for code in codes:
        exec(code, {})
    (_, step), options = drawn["overlay"]
    assert step == 3
    exact = WordMaps(trace).over_image(quantity, 3, layers=[1, 2], head=None)
    if quantity == "attention":
        assert options == {"layers": [1, 2]}
    else:
        values = options["values"].values[trace.image_keys.numpy()]
        np.testing.assert_allclose(values, exact, rtol=1e-5, atol=1e-9)
    (heat,), _ = drawn["heatmap"]
    np.testing.assert_allclose(heat.transpose("layer", "head"), WordMaps(trace).per_head(quantity, 3), rtol=1e-5)


def test_the_copied_code_of_a_line_reads_the_signal(browser: Browser, written: Path) -> None:
    with opened(browser, written) as page:
        page.select_option("[data-role=signal]", "entropy")
        settled(page)
        page.locator(".side > div:has(.line) [data-role=copy-code]").click()
        code = page.locator(".side > div:has(.line) [data-role=code]").inner_text()
    assert 'signals["entropy"].read(trace)' in code
    assert "hallucinated=[3]" in code
    assert 'lv.load_trace("trace.safetensors")  # or the trace at hand\n' in code
    compile(code, "copied", "exec")


def test_code_and_figures_of_two_answers_say_which_they_are_of(browser: Browser, trace: Trace, tmp_path: Path) -> None:
    after = replace(trace, effects=({"name": "DLEAF", "changed": True},))
    with opened(browser, report(trace, tmp_path / "case.html", compare=after, diagnosis=False)) as page:
        copied = []
        for side in page.locator(".side").all():
            side.locator("figure.map [data-role=copy-code]").click()
            copied.append(side.locator("figure.map [data-role=code]").inner_text())
        with page.expect_download() as waiting:
            page.locator("figure.map [data-role=svg] >> nth=1").click()
        waiting.value.save_as(tmp_path / "figure.svg")
    assert waiting.value.suggested_filename.endswith("-with-the-intervention.svg")
    assert "; with the" in "".join(ET.parse(tmp_path / "figure.svg").getroot().itertext())
    assert '"trace.safetensors")  # or the trace at hand, without the intervention' in copied[0]
    assert '"trace_with_intervention.safetensors")  # or the trace at hand, with the intervention' in copied[1]


def test_the_logit_lens_of_a_word_and_of_a_patch(browser: Browser, tmp_path: Path) -> None:
    model, options = lv.load("tiny"), {"hidden_states": True, "progress": False}
    trace = lv.trace(model, scene("neutral", 0).image, "Describe the image.", max_new_tokens=4, **options)
    words, patches = lv.logit_lens(trace, model), lv.lenses.patch_lens(trace, model)
    with opened(browser, report(trace, tmp_path / "case.html", model=model, diagnosis=False)) as page:
        unfold(page, "lens-fold")
        word(page, 1)
        for layer in (-1, 3, 7):
            shown = page.locator(f"[data-lens-layer='{layer}']").inner_text()
            assert int(shown) == int(words["rank"].sel(layer=layer)[1]) + 1
        page.locator(MAP).click()
        settled(page)
        (cell,) = json.loads("[" + page.url.partition("patches=")[2] + "]")
        told = page.locator(f"[data-lens-cell='{cell} 5']").inner_text()
        chance = float(patches["log_prob"].sel(layer=5)[cell].to_numpy())
        assert float(told.split()[-1]) == pytest.approx(np.exp(chance), rel=0.01)
        token = int(patches["top_id"].sel(layer=5)[cell])
        assert told.split()[0] == model.processor.tokenizer.decode([token]).strip() or not told.split()[0].isalpha()
