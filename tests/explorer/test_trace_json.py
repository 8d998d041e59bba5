"""The data side of the explorer: places, packed numbers, what a file keeps, the summary for notebooks."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

import lvlmscope as lv
from lvlmscope import Trace, report
from lvlmscope.diagnostics import layer_image_entropy, planted_trace, saliency_to_previous
from lvlmscope.errors import ModelInputError, OutputError
from lvlmscope.explorer.diagnosis_blocks import diagnosis_of
from lvlmscope.explorer.document import describe_document, with_parts
from lvlmscope.explorer.image_panels import image_panels_of
from lvlmscope.explorer.map_budget import kept_maps
from lvlmscope.explorer.packed_numbers import packed, packed_bytes, unpacked
from lvlmscope.explorer.trace_json import describe_side
from lvlmscope.explorer.word_maps import WordMaps
from lvlmscope.risk import diagnose
from lvlmscope.tiny import scene
from lvlmscope.traces.image_identity import data_uri
from lvlmscope.traces.token_layout import Cell, ImageLayout
from tests.support.random_traces import blind
from tests.support.varied_traces import varied_trace, words_and_pieces


@pytest.mark.parametrize(
    "pieces", [("🙂", " a dog", " 👩‍👩‍👧 and", " a cat"), ("", "", "猫", "𠮷𠮷", " dog"), ("a", " dog")]
)
def test_words_lie_where_javascript_counts_them(pieces: tuple[str, ...]) -> None:
    trace = words_and_pieces(planted_trace(steps=len(pieces)), *pieces)
    side = json.loads(json.dumps(describe_side(WordMaps(trace), "")))
    units = side["answer"].encode("utf-16-le")
    assert side["words"]
    for word in side["words"]:
        assert units[2 * word["start"] : 2 * word["end"]].decode("utf-16-le") == word["text"]


@given(
    rows=arrays(np.float64, st.tuples(st.integers(1, 4), st.integers(1, 6)), elements=st.floats(0, 1e6)),
    bits=st.sampled_from([8, 16]),
)
def test_packed_values_come_back_within_half_a_level(rows: np.ndarray, bits: int) -> None:
    back = unpacked(packed(rows, bits))  # type: ignore[arg-type]
    scale = rows.max(1, keepdims=True).astype(np.float32).astype(np.float64)
    assert (np.abs(back - rows) <= scale / (2**bits - 2) / 2 + scale * 1e-6 + 1e-30).all()


def test_packed_values_that_are_undefined_come_back_so() -> None:
    rows = np.array([[np.nan, np.inf, 0.5, 1.0], [np.nan] * 4, [0.0] * 4])
    back = unpacked(packed(rows, 8))
    assert np.isnan(back).tolist() == [[True, True, False, False], [True] * 4, [False] * 4]
    assert back[2].tolist() == [0.0] * 4
    data = packed(rows, 8)
    assert len(data["data"]) + len(data["scale"]) == packed_bytes(3, 4, 8)


def test_a_words_map_is_the_mean_over_its_tokens_heads_and_layers() -> None:
    trace = words_and_pieces(varied_trace(gradients=True), " car", "pet", " on", ".")
    word_maps = WordMaps(trace)
    assert [word.text for word in word_maps.words] == ["carpet", "on"]
    image = trace.image_keys
    expected = trace.attention[:2][..., image].mean(0).numpy()
    assert np.allclose(word_maps.of_word("attention", 0), expected)
    assert np.allclose(
        word_maps.over_image("attention", 0, layers=[1, 2], head=None), expected[1:].mean((0, 1)), atol=1e-7
    )
    assert trace.gradient is not None
    product = (trace.attention * trace.gradient).abs()[:2][..., image].mean(0).numpy()
    assert np.allclose(word_maps.per_head("saliency", 0), product.sum(-1), atol=1e-7)


def test_an_amount_a_word_or_a_layer_that_is_not_there_is_refused() -> None:
    word_maps = WordMaps(varied_trace())
    with pytest.raises(ModelInputError, match=r"'saliency' of word 0; expected: attention"):
        word_maps.of_word("saliency", 0)
    with pytest.raises(ModelInputError, match="words 0 to 3"):
        word_maps.per_head("attention", 4)
    with pytest.raises(ModelInputError, match="positions 0 to 2"):
        word_maps.over_image("attention", 0, layers=[], head=None)


def test_everything_is_kept_where_there_is_room() -> None:
    word_maps = WordMaps(varied_trace())
    maps = kept_maps(word_maps, room=1_000_000)["attention"]
    assert maps["kept"] == list(range(4 * 3 * 4))
    heads = unpacked(maps["heads"]).reshape(4, 3, 4, 16)
    exact = np.stack([word_maps.of_word("attention", word) for word in range(4)])
    assert np.abs(heads - exact).max() <= exact.max() / 254 / 2 * 1.001
    assert np.abs(unpacked(maps["heat"]).reshape(4, 3, 4) - exact.sum(-1)).max() < 1e-5


def test_where_there_is_little_room_the_heads_that_look_most_are_kept() -> None:
    word_maps = WordMaps(varied_trace(layers=8, heads=4, side=6))
    sizes = []
    for room in (9_000, 1_900, 1_000):
        maps = kept_maps(word_maps, room=room)["attention"]
        sizes.append((maps["band"], maps["per_word"], len(unpacked(maps["layers"]))))
        assert len(json.dumps(maps)) < room + 400
        for code in maps["kept"]:
            word, place = divmod(code, 32)
            sums = word_maps.per_head("attention", word).ravel()
            assert (sums > sums[place]).sum() < maps["per_word"]
    assert sizes[0][0] == 1
    assert 0 < sizes[0][1] < 32
    assert sizes[1][0] > 1
    assert sizes[2][0] > sizes[1][0]


def test_joined_layers_are_their_mean() -> None:
    word_maps = WordMaps(varied_trace(layers=5, side=6))
    maps = kept_maps(word_maps, room=1_000)["attention"]
    assert maps["band"] > 1
    bands = unpacked(maps["layers"]).reshape(4, -1, 36)
    expected = word_maps.of_word("attention", 1)[: maps["band"]].mean((0, 1))
    assert np.allclose(bands[1, 0], expected, atol=expected.max() / 254)


def test_words_carry_signals_probabilities_and_alternatives() -> None:
    trace = words_and_pieces(varied_trace(gradients=True), " car", "pet", " on", ".")
    side = describe_side(WordMaps(trace), "")
    first = side["words"][0]
    assert [token["text"] for token in first["tokens"]] == [" car", "pet"]
    assert first["tokens"][0]["p"] == pytest.approx(np.exp(-0.1), rel=1e-5)
    assert [text for text, _, written in first["tokens"][0]["others"] if not written] == [
        " red",
        " blue",
        " green",
        "\n",
    ]
    entropy = layer_image_entropy(trace).mean("layer").to_numpy()
    assert side["values"]["layer_image_entropy"][0] == pytest.approx(entropy[:2].mean(), rel=1e-5)
    previous = saliency_to_previous(trace).mean("layer").to_numpy()
    assert side["values"]["saliency_to_previous"][0] == pytest.approx(previous[1], rel=1e-5)  # the first has none


def test_marked_words_are_told_and_marks_outside_refused() -> None:
    document = describe_document(varied_trace(), hallucinated=[2], grounded=[(1, 6)]).values
    assert [word["kind"] for word in document["sides"][0]["words"]] == ["grounded", "", "hallucinated", ""]
    with pytest.raises(ModelInputError, match="step 9"):
        describe_document(varied_trace(), hallucinated=[9])


def test_a_diagnosis_adds_risks_and_blocks() -> None:
    trace = varied_trace(gradients=True, steps=8)
    found = diagnose(trace)
    for asked in (True, found):
        document = with_parts(describe_document(trace, diagnosis=asked))
        side = document["sides"][0]
        assert side["values"]["risk"] == pytest.approx([word.risk for word in found.words], rel=1e-5)
        assert side["diagnosis"][0]["title"] == "words"
        assert any("rank" in block["header"] for block in side["diagnosis"])
        words = side["diagnosis"][0]
        assert [side["words"][n]["text"] for n in words["words"]] == [row[0] for row in words["rows"]]
        assert document["signals"][-1]["name"] == "rank of suspicion, not calibrated"
    document = with_parts(describe_document(trace, diagnosis=False))
    assert document["sides"][0]["diagnosis"] == []
    assert "risk" not in document["sides"][0]["values"]
    assert "risk" not in [entry["id"] for entry in document["signals"]]


def test_a_diagnosis_given_is_the_first_traces() -> None:
    trace = varied_trace()
    document = with_parts(describe_document(trace, varied_trace(seed=1), diagnosis=diagnose(trace)))
    assert document["sides"][0]["diagnosis"]
    assert document["sides"][1]["diagnosis"] == []
    tokens = trace.answer_tokens
    with pytest.raises(
        ModelInputError, match=re.escape(f"token 3 is {tokens[3]!r}; expected: one whose token 3 is none;")
    ):
        describe_document(varied_trace(steps=3), diagnosis=diagnose(trace))
    split = replace(trace, answer_tokens=(tokens[0] + tokens[1], "", *tokens[2:]))
    assert split.answer == trace.answer
    with pytest.raises(
        ModelInputError, match=re.escape(f"is {tokens[0]!r}; expected: one whose token 0 is {tokens[0] + tokens[1]!r};")
    ):
        describe_document(split, diagnosis=diagnose(trace))


@pytest.mark.parametrize("diagnosis", ["x", 1, None])
def test_what_is_no_diagnosis_is_refused(diagnosis: object) -> None:
    with pytest.raises(ModelInputError, match=r"diagnosis.*expected: a Diagnosis, True or False"):
        describe_document(varied_trace(), diagnosis=diagnosis)  # type: ignore[arg-type]


def test_the_notebook_summary_loads_neither_diagnosis_nor_figures(repository: Path) -> None:
    code = (
        "import sys; from lvlmscope.diagnostics import planted_trace; shown = planted_trace()._repr_html_();"
        "assert 'lvlmscope.diagnose(trace)' in shown;"
        "heavy = ('lvlmscope.risk', 'lvlmscope.plot', 'lvlmscope.explorer.', 'lvlmscope.evaluation', 'plotly');"
        "print(sorted(name for name in sys.modules if name.startswith(heavy)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=repository, check=True)
    assert run.stdout.strip() == "[]"


def test_nothing_to_diagnose_is_left_out() -> None:
    trace = words_and_pieces(planted_trace(), "", "", "")
    assert diagnosis_of(trace) is None
    assert diagnosis_of(blind(planted_trace())) is None


def with_images(trace: Trace, *images: ImageLayout) -> Trace:
    return replace(trace, layout=replace(trace.layout, images=images))


def test_tiles_lie_over_the_image_in_a_place_of_their_own() -> None:
    trace = varied_trace()
    cells = trace.layout.images[0].cells
    tiled = [replace(cell, tile=0 if n < 4 else 1) for n, cell in enumerate(cells)]
    found = image_panels_of(with_images(trace, replace(trace.layout.images[0], cells=tuple(tiled))))
    assert [(panel.name, len(panel.cells)) for panel in found] == [("image, overview", 4), ("image, tiles", 12)]
    assert found[1].cells[0] == 4


def test_image_tokens_without_a_known_place_are_shown_in_their_order() -> None:
    trace = varied_trace()
    unknown = replace(trace.layout.images[0], reason="a resampler mixes the patches")
    (panel,) = image_panels_of(with_images(trace, unknown))
    assert panel.image_index is None
    assert "a resampler mixes the patches" in panel.note
    assert panel.cells == tuple(range(16))
    queries = ImageLayout(cells=tuple(Cell(key=1 + n, image=0, role="query") for n in range(16)))
    (panel,) = image_panels_of(with_images(trace, queries))
    assert "no place in the image" in panel.note
    (panel,) = image_panels_of(with_images(trace))
    assert "not known" in panel.note


def test_frames_and_images_are_named() -> None:
    trace = varied_trace()
    cells = trace.layout.images[0].cells
    frames = tuple(replace(cell, frame=n // 8) for n, cell in enumerate(cells))
    film = replace(trace.layout.images[0], cells=frames)
    assert [panel.name for panel in image_panels_of(with_images(trace, film))] == ["image, frame 1", "image, frame 2"]
    halves = [replace(trace.layout.images[0], cells=part) for part in (cells[:8], cells[8:])]
    assert [panel.name for panel in image_panels_of(with_images(trace, *halves))] == ["image 1", "image 2"]


def test_an_image_after_a_video_lies_under_its_own_map() -> None:
    trace = varied_trace()
    first, second = trace.layout.images[0].cells[:8], trace.layout.images[0].cells[8:]
    film = replace(trace.layout.images[0], cells=first, pixels="input")  # frames of the model's input, not in the trace
    still = replace(trace.layout.images[0], cells=second)
    side = describe_side(WordMaps(with_images(trace, film, still)), "")
    assert [panel["image"] for panel in side["panels"]] == ["", data_uri(trace.images[0])]
    assert side["panels"][0]["note"] == "the trace holds no image: image tokens only"


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "L", "CMYK"])
def test_images_of_any_kind_become_small_data(mode: str) -> None:
    large = Image.effect_noise((900, 600), 40).convert("RGB").convert("RGBA" if mode == "LA" else "RGB").convert(mode)
    uri = data_uri(large, longest=300)
    assert uri.startswith("data:image/jpeg;base64,")
    assert len(uri) < 60_000


def test_the_notebook_summary_is_small_and_escaped() -> None:
    bad = "<script>alert(1)</script>"
    trace = words_and_pieces(varied_trace(steps=400, layers=32, heads=32, side=2), bad, *[" on"] * 399)
    large = Image.effect_noise((1500, 1000), 90).convert("RGB")
    shown = replace(trace, prompt=bad, images=(large,), provenance={"model": {"name": bad}})._repr_html_()
    assert len(shown) < 150_000
    assert "<script" not in shown
    assert shown.count("data:image/") == 2
    assert "and 100 more tokens" in shown
    assert 'alt="32 layers' in shown


@pytest.mark.parametrize(
    ("trace", "told"),
    [
        (planted_trace(), "no image in the trace"),
        (words_and_pieces(planted_trace(), "", "", ""), "image attention 0.500"),
        (blind(planted_trace()), "no attention on an image to show"),
        (replace(planted_trace(), attention=planted_trace().attention * torch.nan), "not defined (8 heads)"),
    ],
)
def test_the_notebook_summary_tells_what_is_missing(trace: Trace, told: str) -> None:
    assert told in trace._repr_html_()


def test_a_report_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"write a report to .*missing"):
        report(varied_trace(), tmp_path / "missing" / "case.html")
    (tmp_path / "case.html").mkdir()
    with pytest.raises(OutputError, match="choose another path"):
        report(varied_trace(), tmp_path / "case.html")
    assert [path.name for path in tmp_path.iterdir()] == ["case.html"]


def test_a_model_at_hand_is_read_for_the_diagnosis_of_each_trace() -> None:
    model = lv.load("tiny")
    shown = scene("prior", 3).image  # a broccoli; the model speaks of a carrot, too
    trace = lv.trace(model, shown, "Describe the image.", max_new_tokens=12, progress=False)
    without = with_parts(describe_document(trace))
    document = with_parts(describe_document(trace, trace, model=model))
    carrot = [word["text"].strip() for word in document["sides"][0]["words"]].index("carrot")
    assert document["signals"][-1]["name"] == "risk of being hallucinated"
    for side in document["sides"]:
        assert not any(block["title"] == "not read" and "no model" in block["note"] for block in side["diagnosis"])
        assert side["values"]["risk"][carrot] > 0.5 > without["sides"][0]["values"]["risk"][carrot]
