"""The notebook's explorer: its page and its Python half speak to each other as they do over a kernel's comm."""

import base64
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

import lvlmscope
from lvlmscope import Trace
from lvlmscope.errors import MissingExtraError, ModelInputError, ShapeError
from lvlmscope.explorer.document import Document, describe_document
from lvlmscope.explorer.page_script import page_script, page_style
from lvlmscope.explorer.requests import answer_request
from tests.support.browser import opened, settled
from tests.support.varied_traces import varied_trace

# What anywidget does with the module, around a model whose messages Python answers
HARNESS = """
const listeners = new Set();
const model = {
  get: (name) => ({ document: JSON.parse(document.getElementById("data").textContent) })[name],
  on: (name, listener) => listeners.add(listener),
  off: (name, listener) => listeners.delete(listener),
  send: async (content) => {
    const [told, data] = await window.askPython(content);
    const buffers = data.map((text) => new DataView(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer));
    for (const listener of listeners) listener(told, buffers);
  },
};
window.begin = () => {
  const el = document.getElementById("host");
  window.end = explorer.render({ model, el });
  el.firstChild.id = "explorer";
};
window.listening = () => listeners.size;
"""


@pytest.fixture
def trace() -> Trace:
    return varied_trace(gradients=True)


def harness(folder: Path, document: dict[str, Any]) -> Path:
    source, style = page_script(), page_style()
    data = json.dumps(document).replace("<", "\\u003c")
    path = folder / "widget.html"
    path.write_text(
        f'<!doctype html><meta charset="utf-8"><style>{style}</style><div id="host"></div>'
        f'<script type="application/json" id="data">{data}</script><script type="module">'
        f"{source.replace('export default {', 'const explorer = {')}{HARNESS}</script>",
        encoding="utf-8",
    )
    return path


def begin(page: Page, made: Document, asked: list[dict[str, Any]]) -> None:
    def answer(content: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
        asked.append(content)
        told, buffers = answer_request(made, content)
        return told, [base64.b64encode(each).decode() for each in buffers]

    page.expose_function("askPython", answer)
    page.evaluate("window.begin()")


def test_maps_are_asked_for_word_by_word_and_exact(browser: Browser, trace: Trace, tmp_path: Path) -> None:
    made = describe_document(trace)
    assert "maps" not in made.values
    asked: list[dict[str, Any]] = []
    with opened(browser, harness(tmp_path, made.values), ready=False) as page:
        begin(page, made, asked)
        settled(page)
        assert {(each["kind"], each["word"]) for each in asked if "word" in each} == {("heat", 0), ("map", 0)}
        page.locator(".words button").nth(2).click()
        settled(page)
        assert {each["word"] for each in asked if "word" in each} == {0, 2}
        shown = float(page.locator("[data-role=map-text]").get_attribute("data-sum") or "nan")
        exact = trace.attention[2][..., trace.image_keys].sum(-1).mean().item()
        assert shown == pytest.approx(exact, rel=1e-6)
        count = len([each for each in asked if "word" in each])
        page.locator(".words button").nth(0).click()
        settled(page)
        assert len([each for each in asked if "word" in each]) == count  # known from before
        page.evaluate("window.end()")
        assert page.evaluate("window.listening()") == 0


def test_words_and_maps_come_first_and_the_rest_after_with_a_bar(
    browser: Browser, trace: Trace, tmp_path: Path
) -> None:
    made = describe_document(trace)
    assert [each["id"] for each in made.values["signals"]] == ["log_prob", "entropy", "margin"]
    asked: list[dict[str, Any]] = []
    with opened(browser, harness(tmp_path, made.values), ready=False) as page:
        begin(page, made, asked)
        expect(page.locator("[data-role=diagnosis]")).to_be_visible()
        expect(page.locator("[data-role=progress]")).to_be_hidden()
        kinds = [each.get("part", each["kind"]) for each in asked]
        assert sorted(kinds[:2]) == ["heat", "map"]
        assert kinds[2:] == ["attention", "gradient", "diagnosis"]
        listed = page.locator("[data-role=signal] option").all_inner_texts()
        assert listed[0] == "r neg"
        assert listed[-1] == "rank of suspicion, not calibrated"
        assert page.locator("[data-role=signal]").input_value() == "image_attention_focus"
        assert "shaded by image attention focus" in page.inner_text("[data-role=shading]")


def test_a_part_that_fails_is_told_and_the_others_come(browser: Browser, trace: Trace, tmp_path: Path) -> None:
    made = describe_document(trace)

    def answer(content: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
        if content.get("part") == "gradient":
            return {"id": content["id"], "error": "no room"}, []
        told, buffers = answer_request(made, content)
        return told, [base64.b64encode(each).decode() for each in buffers]

    with opened(browser, harness(tmp_path, made.values), ready=False) as page:
        page.expose_function("askPython", answer)
        page.evaluate("window.begin()")
        expect(page.locator("[data-role=diagnosis]")).to_be_visible()
        assert "reading signals of gradient: no room" in page.locator(".side .note").all_inner_texts()


def test_the_other_views_are_exact_too(browser: Browser, trace: Trace, tmp_path: Path) -> None:
    made, first = describe_document(trace), trace.num_prompt_keys
    with opened(browser, harness(tmp_path, made.values), ready=False) as page:
        begin(page, made, [])
        settled(page)
        page.locator(".words button").nth(3).click()
        for role in ("grid-fold", "links-fold"):
            page.locator(f"[data-role={role}] > summary").click()
        links = page.locator("[data-role=links-text]")
        expect(links).to_contain_text("word3")
        exact = float(trace.attention[3, ..., first : first + 3].sum(-1).mean())
        assert float(links.get_attribute("data-sum") or "nan") == pytest.approx(exact, rel=1e-6)
        assert page.locator("[data-role=grid]").evaluate("canvas => canvas.width") > 100
        page.locator(".image canvas").click()
        expect(page.locator(".patch-words")).to_be_visible()
        shown = page.locator("[data-role=patch-words] [data-word='3']").get_attribute("data-value")
        cells = [cell for cell in range(16) if np.isclose(float(shown or "nan"), on_patch(trace, 3, cell), rtol=1e-6)]
        assert len(cells) == 1
        assert "#" not in page.url  # a notebook's address is its own


def on_patch(trace: Trace, step: int, cell: int) -> float:
    return float(trace.attention[step, ..., 1 + cell].mean())


def test_parts_share_what_they_read_and_let_it_go(trace: Trace, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Trace] = []
    rows = Trace._rows
    monkeypatch.setattr(Trace, "_rows", lambda self: made.append(self) or rows(self))
    parts = describe_document(trace).parts
    for request in parts.requests():
        parts.part(request["side"], request["part"])
    assert len(made) == 1
    parts.part(0, "attention")
    assert len(made) == 2
    parts.close()


def test_a_refused_map_is_told(browser: Browser, trace: Trace, tmp_path: Path) -> None:
    made = describe_document(trace)
    with opened(browser, harness(tmp_path, made.values), ready=False) as page:
        page.expose_function("askPython", lambda content: (answer_request(made, content | {"word": 99})[0], []))
        page.evaluate("window.begin()")
        settled(page)
        assert "words 0 to 3" in page.inner_text("[role=alert]:visible")


@pytest.mark.parametrize(
    ("attribute", "value", "dark"),
    [
        ("data-jp-theme-light", "false", True),
        ("data-jp-theme-light", "true", False),
        ("data-vscode-theme-kind", "vscode-dark", True),
        ("data-vscode-theme-kind", "vscode-light", False),
    ],
)
def test_the_notebooks_theme_goes_before_the_systems(
    browser: Browser, trace: Trace, tmp_path: Path, attribute: str, value: str, dark: bool
) -> None:
    made = describe_document(trace)
    scheme = "light" if dark else "dark"
    with opened(browser, harness(tmp_path, made.values), ready=False, scheme=scheme) as page:
        begin(page, made, [])
        settled(page)
        page.evaluate("([name, value]) => document.body.setAttribute(name, value)", [attribute, value])
        page.wait_for_selector(f"#explorer[data-theme={'dark' if dark else 'light'}]")
        paper = page.evaluate("getComputedStyle(document.querySelector('.lvx')).backgroundColor")
        assert (sum(int(part) for part in paper[4:-1].split(",")) < 200) is dark


def test_the_widget_answers_messages(trace: Trace, monkeypatch: pytest.MonkeyPatch) -> None:
    widget = lvlmscope.explore(trace, varied_trace(seed=1, gradients=True))
    assert [side["label"] for side in widget.document["sides"]] == ["first", "second"]
    sent: list[tuple[Any, Any]] = []
    monkeypatch.setattr(type(widget), "send", lambda _self, told, buffers=None: sent.append((told, buffers)))
    request = {"id": 5, "kind": "map", "side": 1, "quantity": "attention", "word": 3, "low": 1, "high": 2, "head": 0}
    widget._handle_custom_msg(request, [])
    (told, buffers), other = sent[0], varied_trace(seed=1, gradients=True)
    assert told == {"id": 5}
    expected = other.attention[3, 1:3, 0][:, other.image_keys].mean(0).numpy()
    assert np.allclose(np.frombuffer(buffers[0], "<f4"), expected)
    assert len(json.dumps(widget.document)) < 60_000


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"word": 4}, "words 0 to 3"),
        ({"word": -1}, "words 0 to 3"),
        ({"quantity": "gradient"}, "attention, saliency, relevance"),
        ({"kind": "everything"}, "no request of kind 'everything'"),
        ({"side": 3}, "IndexError"),
        ({"low": 2, "high": 7}, "positions 0 to 2"),
        ({"head": 4}, "heads 0 to 3"),
        ({"word": None}, "TypeError"),
    ],
)
def test_a_bad_request_is_answered_with_its_error(trace: Trace, changes: dict[str, Any], told: str) -> None:
    asked = {"id": 1, "kind": "map", "side": 0, "quantity": "attention", "word": 0, "low": 0, "high": 2, "head": None}
    answer, buffers = answer_request(describe_document(trace), asked | changes)
    assert answer["id"] == 1
    assert told in answer["error"]
    assert buffers == []


def test_without_anywidget_the_extra_is_named(trace: Trace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "anywidget", None)
    with pytest.raises(MissingExtraError, match=r"lvlmscope\[notebook\]"):
        lvlmscope.explore(trace)


def test_traces_that_cannot_stand_beside_each_other_are_refused(trace: Trace) -> None:
    with pytest.raises(ShapeError, match="3 x 4 and 3 x 2 layers x heads"):
        lvlmscope.explore(trace, varied_trace(heads=2))
    with pytest.raises(ModelInputError, match="two traces of one prompt"):
        lvlmscope.explore(trace, varied_trace(side=3))
