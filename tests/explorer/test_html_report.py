"""The report in a real browser: what it shows is what the trace holds, and nothing leaves the page."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from matplotlib import colormaps
from matplotlib.colors import to_hex
from playwright.sync_api import Browser, Page

import lvlmscope as lv
from lvlmscope import Trace, report
from lvlmscope.diagnostics import image_attention_focus, planted_trace
from tests.support.browser import opened, pixel, settled
from tests.support.random_traces import blind
from tests.support.varied_traces import varied_trace, words_and_pieces

MAP = ".image canvas"
FOCUSED = """() => {
    const { dataset, className, tagName } = document.activeElement;
    return dataset.role || className || tagName;
}"""
SMALLEST_FONT = """() => {
    const sizes = Array.from(document.querySelectorAll(".words button, td, th, label, .legend, .faint"));
    return Math.min(...sizes.map((each) => parseFloat(getComputedStyle(each).fontSize)));
}"""
ROUNDING = 1 / 254  # of a map's maximum, summed over few patches


@pytest.fixture(scope="module")
def trace() -> Trace:
    return varied_trace(gradients=True)


@pytest.fixture(scope="module")
def written(trace: Trace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return report(trace, tmp_path_factory.mktemp("page") / "case.html")


def word(page: Page, number: int) -> None:
    page.locator(".words button").nth(number).click()
    settled(page)


def number(page: Page, signal: str) -> float:
    return float(page.locator(f"[data-signal={signal}]").get_attribute("data-value") or "nan")


def map_sum(page: Page) -> float:
    return float(page.locator("[data-role=map-text]").get_attribute("data-sum") or "nan")


def canvas(page: Page, selector: str = MAP) -> str:
    return str(page.evaluate("selector => document.querySelector(selector).toDataURL()", selector))


def test_a_file_made_with_a_model_has_no_buttons_and_says_what_to_call(browser: Browser, tmp_path: Path) -> None:
    model = lv.load("tiny", check=False)
    trace = lv.trace(model, lv.tiny.scene("prior", 3).image, "Describe the image.", max_new_tokens=14)
    with opened(browser, report(trace, tmp_path / "case.html", model=model)) as page:
        said = page.locator("[data-role=diagnosis]").inner_text()
    assert "diagnosis.apply(model) applies the first" in said
    assert "as buttons" not in said


def test_a_clicked_word_shows_its_own_numbers_and_another_map(browser: Browser, trace: Trace, written: Path) -> None:
    focus = image_attention_focus(trace).mean(["layer", "head"])
    with opened(browser, written) as page:
        first = canvas(page)
        for step in (2, 3):
            word(page, step)
            assert number(page, "entropy") == pytest.approx(trace.entropy[step].item(), rel=1e-5)
            assert number(page, "log_prob") == pytest.approx(trace.log_probs[step].item(), rel=1e-5)
            assert number(page, "margin") == pytest.approx(trace.margin[step].item(), rel=1e-5)
            assert number(page, "image_attention_focus") == pytest.approx(float(focus[step]), rel=1e-5)
            assert map_sum(page) == pytest.approx(float(focus[step]), rel=2 * ROUNDING)
            assert f"{100 * float(focus[step]):.3g} % of attention" in page.inner_text("[data-role=map-text]")
            assert canvas(page) != first
        told = page.inner_text("[data-role=alternatives]")
        assert "token" in told
        assert f"{math.exp(-3.0):.3g}" in told
        assert "red" in told


def test_the_brightest_patch_is_where_the_mass_was_planted(browser: Browser, tmp_path: Path) -> None:
    path = report(planted_trace(patch=6), tmp_path / "case.html")
    low, high = (tuple(bytes.fromhex(to_hex(colormaps["viridis"](share))[1:])) for share in (0.0, 1.0))
    with opened(browser, path) as page:
        assert pixel(page, MAP, 2.5 / 4, 1.5 / 4) == high  # row 1, column 2 of 4 x 4
        assert pixel(page, MAP, 0.5 / 4, 1.5 / 4) == low
        assert "the trace holds no image" in page.inner_text("[data-role=map-note]")


def test_a_chosen_cell_shows_that_heads_map(browser: Browser, trace: Trace, written: Path) -> None:
    image = trace.image_keys
    with opened(browser, written) as page:
        word(page, 1)
        box = page.locator(".heat").bounding_box()
        assert box is not None
        across = (box["width"] - 44) / trace.num_heads
        page.locator(".heat").click(position={"x": 40 + 2.5 * across, "y": 4 + 12})  # head 2 of the top layer
        settled(page)
        chosen = [page.locator(f"[data-role={role}]").input_value() for role in ("low", "high", "head")]
        assert chosen == ["2", "2", "2"]
        exact = trace.attention[1, 2, 2, image]
        assert map_sum(page) == pytest.approx(exact.sum().item(), rel=2 * ROUNDING)
        assert f"layer 2, head 2: {exact.sum().item():.3g}" in page.inner_text("[data-role=heat-text]")
        page.click("[data-role=reset]")
        settled(page)
        assert page.locator("[data-role=head]").input_value() == "all"


def test_layer_range_head_and_signal_are_chosen(browser: Browser, trace: Trace, written: Path) -> None:
    image = trace.image_keys
    with opened(browser, written) as page:
        page.select_option("[data-role=low]", "1")
        settled(page)
        assert map_sum(page) == pytest.approx(trace.attention[0, 1:, :, image].sum(-1).mean().item(), rel=2 * ROUNDING)
        page.select_option("[data-role=head]", "3")
        settled(page)
        assert map_sum(page) == pytest.approx(trace.attention[0, 1:, 3, image].sum(-1).mean().item(), rel=2 * ROUNDING)
        page.select_option("[data-role=quantity]", "saliency")
        settled(page)
        assert trace.gradient is not None
        product = (trace.attention * trace.gradient)[0, 1:, 3, image].abs()
        assert map_sum(page) == pytest.approx(product.sum(-1).mean().item(), rel=2 * ROUNDING)
        before = canvas(page, ".line")
        page.select_option("[data-role=signal]", "entropy")
        settled(page)
        assert canvas(page, ".line") != before
        assert "shaded by entropy, from 0.2 to 1.7 nats" in page.inner_text(".side")
        shown = canvas(page)
        page.locator("[data-role=opacity]").fill("1")
        assert canvas(page) != shown


def test_everything_is_done_with_keys(browser: Browser, trace: Trace, written: Path) -> None:
    with opened(browser, written) as page:
        reached = set()
        for _ in range(40):
            page.keyboard.press("Tab")
            reached.add(page.evaluate(FOCUSED))
        assert {"signal", "quantity", "low", "high", "head", "opacity", "reset", "heat", "SUMMARY"} <= reached
        page.locator(".words button").first.focus()
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowRight")
        settled(page)
        assert page.evaluate("document.activeElement.textContent") == "word2"
        assert page.locator(".words button[aria-pressed=true]").inner_text() == "word2"
        page.keyboard.press("End")
        settled(page)
        assert number(page, "entropy") == pytest.approx(trace.entropy[-1].item(), rel=1e-5)
        page.locator(".heat").focus()
        for key in ("ArrowUp", "ArrowUp", "ArrowRight", "Enter"):
            page.keyboard.press(key)
        settled(page)
        assert [page.locator(f"[data-role={role}]").input_value() for role in ("low", "head")] == ["1", "1"]
        page.keyboard.press("Escape")
        settled(page)
        assert page.locator("[data-role=head]").input_value() == "all"


def test_canvases_and_images_are_told_in_words(browser: Browser, written: Path) -> None:
    with opened(browser, written) as page:
        assert page.locator(".image img").get_attribute("alt")
        assert page.locator(".image img").evaluate("image => image.naturalWidth") > 0  # it is shown, not only named
        labels = [each.get_attribute("aria-label") or "" for each in page.locator("canvas").all()]
        assert len(labels) == 5
        assert all(len(label) > 30 for label in labels)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark_and_a_telephones_width(browser: Browser, written: Path, scheme: str) -> None:
    with opened(browser, written, width=400, scheme=scheme) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= 400
        colours = page.evaluate(
            "[...['color', 'backgroundColor']].map((name) => getComputedStyle(document.querySelector('.lvx'))[name])"
        )
        ink, paper = (sum(int(part) for part in colour[4:-1].split(",")) for colour in colours)
        assert (ink < 200 < 600 < paper) if scheme == "light" else (paper < 200 < 600 < ink)
        assert page.evaluate(SMALLEST_FONT) >= 12


def test_two_traces_stand_side_by_side_on_one_scale(browser: Browser, trace: Trace, tmp_path: Path) -> None:
    other = words_and_pieces(varied_trace(seed=1), " word0", " word1", " cat", " word3")
    other = replace(other, answer_ids=torch.tensor([0, 1, 77, 3]), effects=({"name": "DLEAF", "changed": True},))
    path = report(trace, tmp_path / "case.html", compare=other)
    with opened(browser, path) as page:
        assert page.locator(".side:visible").count() == 2
        assert [page.locator(".words button[aria-pressed=true]").nth(n).inner_text() for n in (0, 1)] == [
            "word2",
            "cat",
        ]
        bars = page.locator(".side .pair .legend").all_inner_texts()
        assert len({bar.split()[1] for bar in bars[::2]}) == 1
        told = page.inner_text("#explorer")
        assert "first word changed: 'word2' -> 'cat'" in told
        assert "What the intervention did" in told
        assert page.locator("[data-role=diagnosis] summary").all_inner_texts() == [
            "Diagnosis, without the intervention",
            "Diagnosis, with the intervention",
        ]
        assert "NOT CALIBRATED" in told
        page.locator(".side").nth(1).locator(".words button").nth(1).click()
        settled(page)
        pressed = page.locator(".words button[aria-pressed=true]").all_inner_texts()
        assert pressed == ["word1", "word1"]
        page.select_option("[data-role=shown]", "1")
        settled(page)
        assert page.locator(".side:visible").count() == 1
        assert "with the intervention" in page.locator(".side:visible").inner_text()


def test_texts_stay_texts(browser: Browser, trace: Trace, tmp_path: Path) -> None:
    bad = "</script><script>window.broken=1</script><img src=x onerror=alert(1)><!--"
    evil = words_and_pieces(trace, bad, " word1", " word2", " &lt;b&gt;")
    evil = replace(evil, prompt=bad, provenance={"model": {"name": bad}}, top_tokens=((bad,) * 5,) * 4)
    path = report(evil, tmp_path / "case.html", title=bad)
    assert path.read_text().count("<script") == 2
    assert "<img" not in path.read_text()
    with opened(browser, path) as page:
        assert page.evaluate("window.broken") is None
        assert page.inner_text("h1") == bad
        assert page.inner_text(".prompt") == bad
        assert page.inner_text(".words").startswith(bad)
        assert page.inner_text(".words").endswith("&lt;b&gt;")
        assert page.locator("#explorer img").count() == 1
        assert page.locator("[data-role=alternatives] code").nth(1).inner_text() == bad


def with_nan(trace: Trace) -> Trace:
    attention = trace.attention.clone()
    attention[0, 1, 2] = float("nan")
    return replace(trace, attention=attention)


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (lambda: varied_trace(layers=1, heads=1), "highest: layer 0, head 0"),
        (lambda: with_nan(varied_trace()), "not defined (1 of 12)"),
        (lambda: varied_trace(image=False), "the trace holds no image"),
        (lambda: replace(varied_trace(), images=(varied_trace().images[0].resize((90, 30)),)), "differs in shape"),
        (lambda: planted_trace(mass=0.0), "0 % of attention on the image"),
        (lambda: blind(planted_trace()), "no image tokens"),
        (planted_trace, "alternatives are token numbers"),
        (lambda: words_and_pieces(planted_trace(), "", "", ""), "no words to show"),
    ],
)
def test_what_is_missing_is_said(browser: Browser, tmp_path: Path, made: object, told: str) -> None:
    assert callable(made)
    path = report(made(), tmp_path / "case.html")
    with opened(browser, path) as page:
        assert told in page.inner_text("#explorer")


def test_a_long_answer_of_a_large_model_fits_and_says_what_was_left_out(browser: Browser, tmp_path: Path) -> None:
    trace = planted_trace(steps=100, layers=32, heads=32, side=24)
    trace.attention.mul_(torch.rand(100, 1, 32, trace.attention.shape[-1]))
    path = report(trace, tmp_path / "case.html", diagnosis=False)
    assert 5e6 < path.stat().st_size < 8e6
    with opened(browser, path) as page:
        exact = trace.attention[0][..., trace.image_keys].sum(-1).mean().item()
        assert map_sum(page) == pytest.approx(exact, rel=2 * ROUNDING)
        weakest = int(trace.attention[0, 0][:, trace.image_keys].sum(-1).argmin())
        page.select_option("[data-role=low]", "0")
        page.select_option("[data-role=high]", "0")
        page.select_option("[data-role=head]", str(weakest))
        settled(page)
        assert "this head's map is not in the file" in page.inner_text("[data-role=map-note]")
        page.locator(".words button").nth(99).click()
        settled(page)
        assert page.locator(".words button[aria-pressed=true]").inner_text() == "word99"
