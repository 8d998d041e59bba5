"""The notebook's explorer: its page and its Python half speak to each other as they do over a kernel's comm."""

import base64
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Page

import lvlmscope
from lvlmscope import Trace
from lvlmscope.errors import MissingExtraError, ModelInputError, ShapeError
from lvlmscope.explorer.document import Document, describe_document
from lvlmscope.explorer.page_script import page_script, page_style
from lvlmscope.explorer.widget import answer_request
from tests.support.browser import chromium, opened, settled
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


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


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
