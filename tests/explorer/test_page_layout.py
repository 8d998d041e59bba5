"""How the page is laid out on paper, side by side and on a telephone; whether its texts can be read on every shade."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pypdfium2
import pytest
from matplotlib import colormaps
from matplotlib.colors import to_hex
from PIL import Image
from playwright.sync_api import Browser, Page

from lvlmscope import Trace, report
from tests.support.browser import opened, settled
from tests.support.varied_traces import varied_trace, words_and_pieces

# Contrast of every word at every shade, as WCAG 2 counts it, from the colours that the browser made
CONTRASTS = """() => {
    const part = (value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
    const channels = (colour) => {
        const numbers = colour.match(/[\\d.]+/g).map(Number);
        return colour.startsWith("color(srgb") ? numbers : numbers.map((number) => number / 255);
    };
    const light = (colour) => {
        const [r, g, b] = channels(colour).map(part);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const found = [];
    for (const button of document.querySelectorAll(".words button"))
        for (let shade = 0; shade <= 1; shade += 0.25) {
            button.style.setProperty("--shade", shade);
            const style = getComputedStyle(button), [one, other] = [light(style.color), light(style.backgroundColor)];
            const contrast = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
            found.push([button.className, shade, contrast]);
        }
    return found;
}"""
LINES = """() => Array.from(document.querySelectorAll("[data-role=numbers] tbody tr > *")).map((cell) =>
    [cell.textContent, cell.textContent.split(" ").length, cell.getBoundingClientRect().height / 22])"""
TOPS = """(selector) => Array.from(document.querySelectorAll(selector)).filter((each) => each.checkVisibility())
    .map((each) => each.getBoundingClientRect().top)"""


@pytest.fixture(scope="module")
def pair() -> tuple[Trace, Trace]:
    before = varied_trace(gradients=True, steps=12, turn=0.2)
    pieces = [*before.answer_tokens[:8], " a", " longer", " way", " on"]
    after = words_and_pieces(varied_trace(seed=1, gradients=True, steps=12, turn=0.3), *pieces)
    ids = after.answer_ids.clone()
    ids[8:] += 100
    return before, replace(after, answer_ids=ids, effects=({"name": "DLEAF", "changed": True},))


@pytest.fixture(scope="module")
def written(pair: tuple[Trace, Trace], tmp_path_factory: pytest.TempPathFactory) -> Path:
    before, after = pair
    path = tmp_path_factory.mktemp("page") / "case.html"
    return report(before, path, compare=after, hallucinated=[2], grounded=[3])


def printed(page: Page) -> list[Image.Image]:
    margin = dict.fromkeys(("top", "bottom", "left", "right"), "12mm")
    document = pypdfium2.PdfDocument(page.pdf(format="A4", margin=margin))
    return [sheet.render(scale=1.5).to_pil().convert("RGB") for sheet in document]


def colours_in(sheets: list[Image.Image]) -> dict[tuple[int, ...], int]:
    found: dict[tuple[int, ...], int] = {}
    for sheet in sheets:
        for count, colour in sheet.getcolors(sheet.width * sheet.height) or []:
            found[colour] = found.get(colour, 0) + count
    return found


def near(colours: dict[tuple[int, ...], int], wanted: tuple[int, ...], apart: int = 6) -> int:
    """How many pixels have about a colour."""
    return sum(
        n for colour, n in colours.items() if all(abs(a - b) <= apart for a, b in zip(colour, wanted, strict=True))
    )


def rgb(share: float) -> tuple[int, ...]:
    return tuple(bytes.fromhex(to_hex(colormaps["viridis"](share))[1:]))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_printed_page_keeps_colour_bars_shading_and_the_image(browser: Browser, written: Path, scheme: Any) -> None:
    with opened(browser, written, scheme=scheme) as page:
        sheets = printed(page)
    colours = colours_in(sheets)
    assert near(colours, (255, 255, 255)) > 0.5 * sum(colours.values())  # light, whatever the screen is
    for share in (0.0, 0.5, 1.0):
        assert near(colours, rgb(share)) > 50  # colour bars and cells
    assert near(colours, (172, 202, 225), 12) > 100  # the darkest shade of a word
    first = sheets[0]
    image = first.getpixel((int(0.2 * first.width), int(0.72 * first.height)))
    assert image != (255, 255, 255)


def test_nothing_to_press_is_printed_and_nothing_is_cut_off(browser: Browser, written: Path) -> None:
    with opened(browser, written) as page:
        page.emulate_media(media="print")
        for selector in (".tools", ".figure-buttons"):
            assert page.locator(f"{selector}:visible").count() == 0
        for each in page.locator(".words, .wide, .prompt").all():
            assert each.evaluate(
                "element => element.scrollHeight <= element.clientHeight + 1 || element.clientHeight === 0"
            )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_word_can_be_read_on_every_shade(browser: Browser, written: Path, scheme: Any) -> None:
    with opened(browser, written, scheme=scheme) as page:
        found = page.evaluate(CONTRASTS)
    assert {kind for kind, _, _ in found} == {"", "is-wrong", "is-true"}
    assert len({round(contrast, 3) for _, _, contrast in found}) > 5  # the shades differ
    assert min(contrast for _, _, contrast in found) >= 4.5


def test_side_by_side_tables_wrap_between_words_and_halves_are_aligned(browser: Browser, written: Path) -> None:
    with opened(browser, written, width=1200) as page:
        assert page.locator("[data-role=numbers] tbody tr").count() > 10
        for text, words, lines in page.evaluate(LINES):
            assert lines <= max(2.5, words / 4), text  # never a word a line
        for part in (".words", ".line", ".image", ".heat", "[data-role=alternatives]", "[data-role=table-fold]"):
            left, right = page.evaluate(TOPS, f".side {part}")
            assert abs(left - right) < 1, part
        assert page.evaluate("document.documentElement.scrollWidth") <= 1200


def test_what_the_intervention_did_comes_first(browser: Browser, written: Path) -> None:
    with opened(browser, written) as page:
        (effect,) = page.evaluate(TOPS, "[data-role=effect]")
        (tools,) = page.evaluate(TOPS, ".tools")
        assert effect < tools < min(page.evaluate(TOPS, ".words"))


def test_a_telephone_shows_one_answer_and_folded_tables(browser: Browser, written: Path) -> None:
    with opened(browser, written, width=400) as page:
        assert page.evaluate("document.documentElement.scrollHeight") < 3_200
        assert page.evaluate("document.documentElement.scrollWidth") <= 400
        assert page.locator(".side:visible").count() == 1
        page.locator("[data-role=signals-fold] > summary").click()
        assert page.locator("[data-role=numbers]").is_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= 400
        page.select_option("[data-role=shown]", "both")
        settled(page)
        assert page.locator(".side:visible").count() == 2
        assert page.evaluate("document.documentElement.scrollWidth") <= 400
