"""Where image tokens lie: a square planted in the image is found in the boxes of the tokens that see it."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from matplotlib.collections import PolyCollection

import lvlmscope as lv
from lvlmscope.errors import GeometryError
from lvlmscope.models.families import family_of
from lvlmscope.models.families.grid_family import GridFamily, Sample
from lvlmscope.models.families.llava_next import LlavaNextFamily, LlavaOnevisionFamily
from lvlmscope.models.families.patch_grids import Axis, Pane, Visual, even
from lvlmscope.traces.token_layout import Layout
from tests.support.planted_squares import CASES, Case, disagreements, features, follow, image, pil, processed, unmixed
from tests.support.processors import PLACES, tokenizer
from tests.support.tiny_families import FAMILIES, IMAGE, FamilyCase, joined, llama
from tests.support.tiny_models import SUPPRESSED, unit_gain
from tests.support.traced import from_inputs

SIZES = [(73, 151), (151, 73), (40, 40), (200, 31)]
_MODELS: dict[str, tuple[Case, Any]] = {}


def ready(name: str) -> tuple[Case, Any, Any]:
    """A case, its model and its processor, made once."""
    if name not in _MODELS:
        case = CASES[name]()
        _MODELS[name] = case, case.model()
    case, model = _MODELS[name]
    return case, model, SimpleNamespace(image_processor=case.images, images_kwargs=case.options)


def layouts_of(model: Any, inputs: dict[str, Any], sample: int = 0, **options: Any) -> Any:
    """A sample's layouts, as a trace asks for them."""
    family = family_of(model)
    own = inputs["input_ids"][sample][inputs["attention_mask"][sample].bool()]
    keys = family.image_mask(model, own[None])[0].nonzero().flatten()
    return family.image_layouts(model, keys, family.sample_inputs(model, inputs, sample), **options)


@pytest.mark.parametrize("name", CASES)
@settings(max_examples=6, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_a_planted_square_is_in_the_boxes_of_its_tokens(name, data):
    case, model, processor = ready(name)
    width, height = data.draw(st.sampled_from(SIZES) | st.tuples(st.integers(24, 220), st.integers(24, 220)))
    side = data.draw(st.integers(4, 12))
    left, top = data.draw(st.integers(0, width - side)), data.draw(st.integers(0, height - side))
    square = (left, top, left + side, top + side)
    whole, planted = image((width, height)), image((width, height), square)
    placed = follow(case, model, [whole], [planted], processor=processor)
    (layout,), (changed,) = placed.layouts, placed.changed
    assert not layout.reason
    assert layout.size == (width, height)
    assert layout.pixels == "image"
    assert disagreements(layout, changed, square, case.cell) == []
    for cell in layout.cells:
        assert cell.box is None or (
            0 <= cell.box[0] < cell.box[2] <= width and 0 <= cell.box[1] < cell.box[3] <= height
        )


@pytest.mark.parametrize("name", CASES)
def test_a_square_in_the_middle_is_seen(name):
    case, model, processor = ready(name)
    square = (40, 40, 60, 60)
    placed = follow(case, model, [image((100, 100))], [image((100, 100), square)], processor=processor)
    assert placed.changed[0]


# By hand: the image's size; rows and columns of tokens; left and top edge and size of the first one; how many tiles
# stand in a row and a column, 0 where one grid of tokens runs through all
BY_HAND = [
    ("llava", (64, 32), (4, 4), (16, 0, 8, 8), (1, 1)),
    ("llava_padded", (64, 32), (4, 4), (0, -16, 16, 16), (1, 1)),
    ("paligemma", (64, 32), (4, 4), (0, 0, 16, 8), (1, 1)),
    ("gemma3", (32, 64), (4, 4), (0, 0, 8, 16), (1, 1)),
    ("qwen2_5_vl", (96, 64), (4, 6), (0, 0, 16, 16), (1, 1)),
    ("mistral3", (32, 64), (8, 4), (0, 0, 8, 8), (1, 1)),
    ("llava_next", (128, 128), (8, 8), (0, 0, 16, 16), (0, 0)),
    ("llava_next", (128, 64), (4, 8), (0, 0, 16, 16), (0, 0)),
    ("internvl", (128, 128), (8, 8), (0, 0, 16, 16), (2, 2)),
    ("internvl", (192, 128), (8, 12), (0, 0, 16, 16), (2, 3)),
    ("internvl", (128, 192), (12, 8), (0, 0, 16, 16), (3, 2)),
    ("aya_vision", (96, 96), (8, 8), (0, 0, 12, 12), (2, 2)),
    ("aya_vision", (144, 96), (8, 12), (0, 0, 12, 12), (2, 3)),
    ("aya_vision", (96, 144), (12, 8), (0, 0, 12, 12), (3, 2)),
    ("gemma3_crops", (160, 80), (4, 8), (0, 0, 20, 20), (1, 2)),
]


@pytest.mark.parametrize(("name", "size", "grid", "first", "tiles"), BY_HAND)
def test_a_square_inside_one_token_changes_that_token_alone_in_its_tile(name, size, grid, first, tiles):
    case, model, processor = ready(name)
    left, top, width, height = first
    for row, column in ((0, 0), (0, grid[1] - 1), (grid[0] - 1, 0), (1, 2), (grid[0] - 2, grid[1] - 3)):
        box = (left + column * width, top + row * height, left + (column + 1) * width, top + (row + 1) * height)
        square = (box[0] + width // 2 - 1, box[1] + height // 2 - 1, box[0] + width // 2 + 1, box[1] + height // 2 + 1)
        if square[1] < 0 or square[3] > size[1]:
            continue  # padding
        placed = follow(case, model, [image(size)], [image(size, square)], processor=processor)
        (layout,), (changed,) = placed.layouts, placed.changed
        assert not layout.reason
        several = max(tiles) != 1
        tile = 1 if tiles == (0, 0) else row // 4 * tiles[1] + column // 4 + 1 if several else 0
        place = (row % 4, column % 4) if several and tiles != (0, 0) else (row, column)
        seen = [cell for cell in layout.cells if cell.key in changed]
        assert [(cell.row, cell.column) for cell in seen if cell.tile == tile] == [place]
        assert {cell.tile for cell in seen} == {0, tile}
        (own,) = (cell for cell in seen if cell.tile == tile)
        assert own.box == pytest.approx((max(box[0], 0), max(box[1], 0), min(box[2], size[0]), min(box[3], size[1])))


@pytest.mark.parametrize("name", [name for name in CASES if not name.startswith("llava_padded") and name != "llava"])
def test_each_of_several_images_has_its_own_boxes(name):
    case, model, processor = ready(name)
    sizes, square = [(73, 151), (120, 60)], (20, 20, 34, 34)
    plain = [image(size) for size in sizes]
    placed = follow(case, model, plain, [plain[0], image(sizes[1], square)], processor=processor)
    assert [layout.size for layout in placed.layouts] == sizes
    assert placed.changed[0] == frozenset()
    assert placed.changed[1]
    assert disagreements(placed.layouts[1], placed.changed[1], square, case.cell) == []
    assert {cell.image for cell in placed.layouts[1].cells} == {1}


def test_every_named_family_places_or_says_why():
    """All cells once, in order; refused ones with their reason."""
    refused = {}
    for name in FAMILIES:
        made = FAMILIES[name]()
        found = layouts_of(made.model, made.inputs)
        keys = family_of(made.model).image_mask(made.model, made.inputs["input_ids"])[0].nonzero().flatten().tolist()
        assert sorted(cell.key for layout in found for cell in layout.cells) == keys
        reasons = [layout.reason for layout in found if layout.reason]
        if reasons:
            refused[name] = reasons[0]
    assert set(refused) == {"instructblip", "internvl", "idefics3", "smolvlm"}
    assert "query token" in refused["instructblip"]
    # Two tiles of hand-made inputs: which is which depends on an image, or on markers, that are not there
    assert "image's size" in refused["internvl"]
    assert "no tokenizer" in refused["idefics3"]


def prepared(name: str) -> FamilyCase:
    return FAMILIES[name](2)


@pytest.mark.parametrize(
    "name",
    [
        "llava_next",
        "llava_onevision",
        "qwen2_vl",
        "qwen2_5_vl_two_images",
        "qwen2_5_vl_video",
        "mistral3",
        "pixtral",
        "gemma3",
        "paligemma",
    ],
)
def test_a_sample_of_a_batch_is_placed_as_it_is_alone(name):
    made = prepared(name)
    for number, alone in enumerate(made.samples):
        (batched, single) = layouts_of(made.model, made.inputs, number), layouts_of(made.model, alone)
        assert batched == single
        assert not any(layout.reason for layout in batched)


def test_prepared_inputs_are_placed_in_the_models_input():
    made = FAMILIES["qwen2_vl"]()
    (layout,) = layouts_of(made.model, made.inputs)
    assert (layout.pixels, layout.size, layout.grid) == ("input", (96, 64), (4, 6))
    assert layout.cells[7].box == (16.0, 16.0, 32.0, 32.0)
    (stretched,) = layouts_of(made.model, made.inputs, sizes=[(192, 64)])
    assert (stretched.pixels, stretched.cells[7].box) == ("image", (32.0, 16.0, 64.0, 32.0))


def test_frames_of_a_video():
    made = FAMILIES["qwen2_5_vl_video"]()
    (layout,) = layouts_of(made.model, made.inputs)
    assert [len(layout.patches(frame=frame)) for frame in range(4)] == [8, 8, 8, 0]
    assert [cell.frame for cell in layout.cells] == [0] * 8 + [1] * 8 + [2] * 8


def test_images_and_a_video_are_told_apart_by_their_tokens():
    one, clip = FAMILIES["qwen2_5_vl"](), FAMILIES["qwen2_5_vl_video"]()
    inputs = {name: torch.cat([clip.inputs[name], one.inputs[name]], 1) for name in ("input_ids", "attention_mask")}
    inputs |= {"image_grid_thw": one.inputs["image_grid_thw"], "video_grid_thw": clip.inputs["video_grid_thw"]}
    found = layouts_of(one.model, inputs)
    assert [len(layout.cells) for layout in found] == [24, 24]
    assert [max(cell.frame for cell in layout.cells) for layout in found] == [2, 0]
    assert found[0].cells[0].key < found[1].cells[0].key


def test_frames_of_onevision_are_pooled_and_end_with_a_newline():
    made = FAMILIES["llava_onevision"]()
    clips = torch.randn(1, 3, 3, 32, 32)
    ids = torch.tensor([[1, *[201] * (3 * 4 + 1), 9]])
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "pixel_values_videos": clips}
    (layout,) = layouts_of(made.model, inputs)
    assert [cell.role for cell in layout.cells] == ["patch"] * 12 + ["newline"]
    assert layout.cells[5].box == (16.0, 0.0, 32.0, 16.0)
    with torch.no_grad():  # the model itself refuses other counts than its features'
        made.model(**inputs)
        with pytest.raises(ValueError, match="do not match"):
            made.model(**inputs | {"input_ids": ids[:, :-2], "attention_mask": ids[:, :-2] > 0})


def test_newlines_have_a_row_and_no_box():
    made = FAMILIES["llava_next"]()
    (layout,) = layouts_of(made.model, made.inputs)
    newlines = [cell for cell in layout.cells if cell.role == "newline"]
    assert [cell.row for cell in newlines] == [0, 1, 2, 3]
    assert {cell.box for cell in newlines} == {None}
    assert layout.size == (64, 32)  # from image_sizes: the image's own


@pytest.mark.parametrize(
    ("name", "changes", "reason"),
    [
        ("qwen2_vl", {"image_grid_thw": torch.tensor([[1, 8, 8]])}, "24 image tokens where 1 images give 16"),
        ("qwen2_vl", {"image_grid_thw": None}, "no image_grid_thw"),
        ("mistral3", {"image_sizes": torch.tensor([[32, 32]])}, "24 image tokens where 1 images give 16"),
        ("mistral3", {"image_sizes": None}, "no image_sizes"),
        ("llava_next", {"image_sizes": torch.tensor([[64, 64]])}, "52 image tokens where 1 images give"),
    ],
)
def test_counts_that_differ_are_told_and_never_guessed(name, changes, reason):
    made = FAMILIES[name]()
    found = layouts_of(made.model, made.inputs | changes)
    assert reason in found[0].reason
    with pytest.raises(GeometryError, match=reason):
        found[0].patches()


def test_another_number_of_images_is_told():
    made = FAMILIES["qwen2_vl"]()
    found = layouts_of(made.model, made.inputs, sizes=[(10, 10), (20, 20)])
    assert "2 images were given for 1 images" in found[0].reason


def test_a_batch_that_does_not_come_out_even_loses_its_geometry_only():
    made = prepared("qwen2_vl")
    wrong = made.inputs | {"image_grid_thw": torch.tensor([[1, 8, 8], [1, 8, 8]])}
    assert all("no image_grid_thw" in layout.reason for layout in layouts_of(made.model, wrong, 0))


def test_tokens_are_found_by_pixels_and_back():
    made = FAMILIES["llava_next"]()
    (layout,) = layouts_of(made.model, made.inputs)
    whole = Layout(kinds=("image",) * made.inputs["input_ids"].shape[1], images=(layout,))
    keys = whole.keys_at(0, 20.0, 3.0)
    assert keys.dtype == torch.bool
    assert [(cell.tile, cell.row, cell.column) for cell in layout.cells if keys[cell.key]] == [(0, 0, 1), (1, 0, 2)]
    inside = whole.keys_in(0, (17.0, 1.0, 23.0, 7.0))
    assert torch.equal(keys, inside)
    for cell in layout.cells:
        if cell.box is not None:
            left, top, right, bottom = cell.box
            assert whole.keys_at(0, (left + right) / 2, (top + bottom) / 2)[cell.key]
    unknown = layouts_of(made.model, made.inputs | {"image_sizes": None})
    with pytest.raises(GeometryError, match="no image_sizes"):
        Layout(kinds=whole.kinds, images=unknown).keys_at(0, 1.0, 1.0)


def test_onevision_does_not_tile_an_image_among_several():
    case, model, processor = ready("llava_onevision")
    sizes, square = [(73, 151), (120, 60)], (20, 20, 34, 34)

    def made(*squares: Any) -> dict[str, Any]:
        images = [image(sizes[0]), image(sizes[1], *squares)]
        return dict(case.images([images], return_tensors="pt"))

    inputs = made()
    assert inputs["batch_num_images"].tolist() == [2]
    with torch.no_grad():
        before, after = (model.get_image_features(**one).pooler_output for one in (inputs, made(square)))
    ids = torch.tensor([[1, *[IMAGE] * 17, 8, *[IMAGE] * 17, 9]])
    inputs |= {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    found = layouts_of(model, inputs, processor=processor, sizes=sizes)
    assert [len(layout.cells) for layout in found] == [len(one) for one in before] == [17, 17]
    moved = (after[1] - before[1]).abs().amax(-1) > 0.01
    changed = frozenset(cell.key for cell, is_moved in zip(found[1].cells, moved, strict=True) if is_moved)
    assert changed
    assert disagreements(found[1], changed, square, case.cell) == []
    pair = joined([inputs, inputs])
    assert layouts_of(model, pair, 1, processor=processor, sizes=sizes) == found


def test_tiles_of_another_size_are_refused():
    case, model, processor = ready("llava_next")
    processor.image_processor = CASES["llava_onevision"]().images
    placed = processed(case, [image((64, 64))])
    ids = torch.tensor([[1, *[IMAGE] * 99]])
    inputs = placed | {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    (layout,) = layouts_of(model, inputs, processor=processor, sizes=[(64, 64)])
    assert "cuts tiles of 36 pixels for a tower of 32" in layout.reason


@pytest.mark.parametrize("kind", ["Idefics3", "SmolVLM"])
@pytest.mark.parametrize(
    ("sizes", "square"),
    [
        ([(73, 151)], (20, 20, 28, 31)),
        ([(73, 151)], (45, 60, 53, 70)),
        ([(96, 64)], (6, 52, 12, 58)),
        ([(151, 73), (60, 60)], (20, 20, 28, 31)),
        ([(64, 64), (30, 200)], (20, 20, 28, 31)),
    ],
)
def test_sub_images_are_placed_by_their_markers(kind, sizes, square):
    made = FAMILIES[kind.lower()]()
    model = unmixed(made.model)
    images = pil(kind, size={"longest_edge": 96}, max_image_size={"longest_edge": 32})
    markers = ["<fake_token_around_image>", "<global-img>", "<end_of_utterance>", *PLACES]
    processor = tf.Idefics3Processor(image_processor=images, tokenizer=tokenizer("<image>", markers), image_seq_len=16)
    text = "w7 " + "<image> w8 " * len(sizes)

    def made_of(*squares: Any) -> dict[str, Any]:
        drawn = [*(image(size) for size in sizes[:-1]), image(sizes[-1], *squares)]
        return dict(processor(images=drawn, text=text, return_tensors="pt"))

    inputs = made_of()
    before, after = (torch.cat(features(model, one)) for one in (inputs, made_of(square)))
    found = layouts_of(model, inputs, processor=processor, sizes=sizes)
    assert [layout.reason for layout in found] == [""] * len(sizes)
    assert [layout.size for layout in found] == sizes
    keys = (inputs["input_ids"][0] == IMAGE).nonzero().flatten().tolist()
    difference = (after - before).abs().amax(-1)
    changed = frozenset(k for k, d in zip(keys, difference, strict=True) if d > 0.01 * difference.max())
    assert changed <= {cell.key for cell in found[-1].cells}
    assert disagreements(found[-1], changed, square, 8) == []
    tiles = {layout: {cell.tile for cell in found[layout].cells} for layout in range(len(sizes))}
    assert max(tiles[0]) > 1
    unmarked = layouts_of(model, inputs, sizes=sizes)
    assert "no tokenizer" in unmarked[0].reason


@pytest.mark.parametrize("name", ["llava_next", "qwen2_5_vl_two_images", "qwen2_5_vl_video", "mistral3", "gemma3"])
def test_a_traced_word_is_drawn_over_its_tokens(name):
    made = FAMILIES[name](2)
    traces = from_inputs(made.model, made.inputs, max_new_tokens=2, min_new_tokens=2, do_sample=False)
    for traced, alone in zip(traces, made.samples, strict=True):
        assert traced.layout.images == layouts_of(made.model, alone)
        for number, layout in enumerate(traced.layout.images):
            assert not layout.reason
            figure = lv.plot.overlay(traced, 1, image_index=number)
            drawn = next(artist for artist in figure.axes[1].collections if isinstance(artist, PolyCollection))
            cells = [cell.key for cell in layout.placed() if cell.frame == 0]
            areas = [path.get_extents().width * path.get_extents().height for path in drawn.get_paths()]
            shown = (drawn.get_array() * areas).sum() / max(
                (c.box[2] - c.box[0]) * (c.box[3] - c.box[1]) for c in layout.placed() if c.box
            )
            assert shown == pytest.approx(float(traced.attention[1][..., cells].mean((0, 1)).sum()), rel=1e-4)


@settings(deadline=None)
@given(width=st.integers(1, 3000), height=st.integers(1, 3000))
def test_released_sizes_give_as_many_tokens_as_the_processors_count(width, height):
    """LLaVA-1.6 (336 / 14) and LLaVA-OneVision (384 / 14, a rim of 6 pixels) against transformers' own counting."""
    points = [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]]
    large = [[384 * rows, 384 * columns] for rows in range(1, 7) for columns in range(1, 7)]
    for kind, base, side, grid in (("LlavaNext", 577, 336, points), ("LlavaOnevision", 729, 384, large)):
        counter = object.__new__(getattr(tf, f"{kind}Processor"))
        counter.image_processor = SimpleNamespace(image_grid_pinpoints=grid)
        counter.patch_size, counter.num_additional_image_tokens, counter.num_image_tokens = 14, 1, base
        counter.vision_aspect_ratio = "anyres_max_9"
        expected = counter._get_number_of_features(height, width, side, side) - (kind == "LlavaNext")
        vision = SimpleNamespace(image_size=side, patch_size=14)
        config = SimpleNamespace(
            vision_config=vision, image_grid_pinpoints=grid, vision_aspect_ratio="anyres_max_9", model_type=""
        )
        sizes = {"image_sizes": torch.tensor([[height, width]])}
        family = LlavaNextFamily() if kind == "LlavaNext" else LlavaOnevisionFamily()
        sample = Sample(config=config, keys=(0,), ids=None, inputs=sizes, processor=None, sizes=())
        assert [visual.tokens for visual in family.visuals(sample)] == [expected]


class HalvesFamily(GridFamily):
    """As the documentation's example: the left half and the right half of each image."""

    name = "halves"
    model_types = ("halves",)

    def visuals(self, sample):
        found = []
        for width, height in sample.images(len(sample.keys) // 2):
            across, down = Axis.stretched(width, onto=2), Axis.stretched(height, onto=1)
            pane = Pane(rows=down.spans(even(1, 1)), columns=across.spans(even(2, 1)))
            found.append(Visual(panes=(pane,), size=(width, height), pixels="image"))
        return found


def test_a_family_of_ones_own_says_how_its_images_are_cut():
    model = torch.nn.Module()
    model.config = SimpleNamespace(model_type="halves")
    family, ids = HalvesFamily(), {"input_ids": torch.tensor([[1, 200, 200, 200, 200]])}
    assert family.claims(model)
    one, two = family.image_layouts(model, torch.arange(1, 5), ids, sizes=[(10, 4), (6, 2)])
    assert [cell.box for cell in one.cells] == [(0.0, 0.0, 5.0, 4.0), (5.0, 0.0, 10.0, 4.0)]
    assert [(cell.key, cell.image) for cell in two.cells] == [(3, 1), (4, 1)]


def test_a_family_without_visuals_says_that_its_geometry_is_not_known():
    model = torch.nn.Module()
    model.config = SimpleNamespace(model_type="new")
    (layout,) = GridFamily().image_layouts(model, torch.tensor([1]), {"input_ids": torch.tensor([[1, 200]])})
    assert "the geometry of new is not known" in layout.reason


@settings(max_examples=8, deadline=None, derandomize=True)
@given(data=st.data())
def test_keys_of_cross_attention_are_placed_by_tiles(data):
    if "mllama" not in _MODELS:
        images = pil("Mllama", size={"height": 32, "width": 32}, max_image_tiles=4)
        _MODELS["mllama"] = Case("mllama", images), unmixed(FAMILIES["mllama"]().model)
    case, model = _MODELS["mllama"]
    width, height = data.draw(st.sampled_from(SIZES) | st.tuples(st.integers(20, 220), st.integers(20, 220)))
    left, top = data.draw(st.integers(0, width - 8)), data.draw(st.integers(0, height - 8))
    square = (left, top, left + 8, top + 8)

    def keys_of(one: Any) -> tuple[dict[str, Any], torch.Tensor]:
        inputs = dict(case.images([[one]], return_tensors="pt"))
        visual = {name: inputs[name] for name in ("pixel_values", "aspect_ratio_ids", "aspect_ratio_mask")}
        with torch.no_grad():
            found = model.model.vision_model(**visual).last_hidden_state[0, 0]
        return inputs, found[inputs["aspect_ratio_mask"][0, 0].bool()].flatten(0, 1)

    (inputs, before), (_, after) = keys_of(image((width, height))), keys_of(image((width, height), square))
    inputs |= {"input_ids": torch.ones(1, 3, dtype=torch.long), "attention_mask": torch.ones(1, 3, dtype=torch.long)}
    family = family_of(model)
    (layout,) = family.image_layouts(
        model, torch.arange(len(before)), family.sample_inputs(model, inputs, 0), sizes=[(width, height)]
    )
    assert not layout.reason
    difference = (after - before).abs().amax(-1)
    changed = frozenset(key for key, much in enumerate(difference.tolist()) if much > 0.01 * difference.max())
    assert disagreements(layout, changed, square, case.cell) == []
    assert sum(cell.role == "query" for cell in layout.cells) == len(layout.cells) // 17


def test_cross_attention_keys_of_a_trace_have_their_boxes():
    made = FAMILIES["mllama"](2)
    traces = from_inputs(made.model, made.inputs, max_new_tokens=2, min_new_tokens=2, do_sample=False)
    for traced, size in zip(traces, [(64, 64), (64, 32)], strict=True):  # 2 x 2 tiles of 32 pixels, then 1 x 2
        (layout,) = traced.layout.images
        assert (layout.reason, layout.size, layout.pixels) == ("", size, "input")
        assert len(layout.cells) == int(traced.image_keys.sum()) == size[0] * size[1] // 64 + size[0] * size[1] // 1024
        lv.plot.overlay(traced, 1)


@pytest.mark.parametrize("name", ["gemma3", "aya_vision"])
def test_several_runs_without_images_may_be_tiles_or_images(name):
    made = FAMILIES[name]()
    twice = {n: torch.cat([made.inputs[n]] * 2, 1) for n in ("input_ids", "attention_mask")}
    assert "no image to tell which is which" in layouts_of(made.model, twice)[0].reason
    _, _, processor = ready(name)
    found = layouts_of(made.model, twice, processor=processor, sizes=[(40, 40), (50, 40)])
    assert [layout.reason for layout in found] == ["", ""]
    single = layouts_of(made.model, made.inputs, processor=processor, sizes=[(40, 40), (50, 40)])
    assert "1 tiles in the prompt where the images give 2" in single[0].reason


def dino(image_size: int) -> Any:
    """LLaVA with a DINOv2 tower, which interpolates its positions to the pixels that it is given."""
    torch.manual_seed(0)
    tower = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "patch_size": 14}
    vision = tf.Dinov2Config(**tower, image_size=image_size)
    config = tf.LlavaConfig(vision_config=vision, text_config=llama(), image_token_id=IMAGE, image_seq_length=64)
    return unit_gain(tf.LlavaForConditionalGeneration(config), 0)


@pytest.mark.parametrize("image_size", [518, 112, 56])
def test_the_grid_is_that_of_the_pixels_whatever_the_config_says(image_size: int) -> None:
    model = dino(image_size)
    images = pil("CLIP", size={"shortest_edge": 112}, crop_size={"height": 112, "width": 112})
    options = {"patch_size": 14, "num_additional_image_tokens": 1, "vision_feature_select_strategy": "default"}
    processor = tf.LlavaProcessor(image_processor=images, tokenizer=tokenizer(), **options)
    found = lv.check((loaded := lv.load((model, processor))), processor=processor)
    assert found.passed, found
    for photo in (image((224, 112), (56, 0, 70, 14)), image((112, 112))):
        traced = lv.trace(loaded, photo, "<image> w7", max_new_tokens=2, suppress_tokens=SUPPRESSED, progress=False)
        (layout,) = traced.layout.images
        assert (layout.reason, layout.size, layout.grid) == ("", photo.size, (8, 8))
        assert layout.cells[0].box == ((56.0 if photo.width > 112 else 0.0), 0.0, layout.cells[0].box[0] + 14.0, 14.0)
        lv.plot.overlay(traced, 0)
    inputs = dict(processor(images=[image((112, 112))] * 2, text=["<image> w7", "<image> w8"], return_tensors="pt"))
    for traced in lv.trace_inputs(model, inputs, max_new_tokens=2, suppress_tokens=SUPPRESSED, progress=False):
        (layout,) = traced.layout.images
        assert (layout.reason, layout.pixels, layout.grid) == ("", "input", (8, 8))


def test_a_square_is_found_where_the_pixels_are_not_of_the_configs_size() -> None:
    case = Case("llava", pil("CLIP", size={"shortest_edge": 112}, crop_size={"height": 112, "width": 112}), cell=14)
    for image_size in (518, 56):
        model = unmixed(dino(image_size))
        for name, weight in model.named_parameters():
            if "lambda1" in name:  # scales what a layer of DINOv2 adds
                weight.data.zero_()
        square = (40, 40, 60, 60)
        placed = follow(
            case,
            model,
            [image((150, 100))],
            [image((150, 100), square)],
            processor=SimpleNamespace(image_processor=case.images, images_kwargs={}),
        )
        assert placed.changed[0]
        assert disagreements(placed.layouts[0], placed.changed[0], square, case.cell) == []


def test_other_numbers_of_images_than_of_grids_are_told() -> None:
    made = FAMILIES["llava_two_images"]()
    one = made.inputs | {"pixel_values": made.inputs["pixel_values"][:1]}
    assert "32 image tokens of 1 images where an image gives 16" in layouts_of(made.model, one)[0].reason
    tall = made.inputs | {"pixel_values": made.inputs["pixel_values"][:, :, :16]}
    assert "not square" in layouts_of(made.model, tall)[0].reason
    tiles = FAMILIES["llava_next"]()
    half = tiles.inputs | {"pixel_values": tiles.inputs["pixel_values"][..., :16, :16]}
    assert "tiles of (16, 16) pixels" in layouts_of(tiles.model, half)[0].reason
