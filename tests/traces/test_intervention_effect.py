"""``effect``: the first word that differs, what moved over the shared steps, and what each intervention reports."""

import math
from typing import Any

import pytest
import torch
from PIL import Image

from lvlmscope.errors import ModelInputError
from lvlmscope.explorer.html_report import page
from lvlmscope.plot import compare
from lvlmscope.traces.image_identity import describe_images
from lvlmscope.traces.intervention_effect import effect, side_names
from tests.traces.test_trace import make_trace


def test_the_first_differing_word_and_the_shared_steps() -> None:
    before = make_trace(steps=3)
    report = {"name": "toy", "changed": True, "edited_heads": 3, "edited_heads_per_layer": {"1": 3}, "forwards": 2}
    ids, words = torch.tensor([0, 7, 2]), ("a", "x", "c")
    after = make_trace(steps=3, answer_ids=ids, answer_tokens=words, answer="axc", effects=(report,))
    told = effect(before, after)
    assert (told.first_step, told.before_word, told.after_word, told.shared_steps) == (1, "b", "x", 2)
    assert told.changed
    assert not told.same_answer
    mass = before.attention[:2, :, :, 1:5].sum(-1).mean().item()
    assert told.image_mass_before == pytest.approx(mass)
    assert "toy: edited 3 (row, head) pairs in 1 layers over 2 forwards" in str(told)
    assert "first word changed: 'b' -> 'x'" in str(told)


def test_equal_answers_and_one_that_begins_with_the_other() -> None:
    before = make_trace(steps=3)
    same = effect(before, make_trace(steps=3))
    assert same.same_answer
    assert not same.changed
    assert "no intervention was on" in str(same)
    assert "no word changed" in str(same)
    longer = effect(make_trace(steps=2), before)
    assert (longer.first_step, longer.shared_steps, longer.same_answer) == (None, 2, False)
    assert "one answer begins with the other" in str(longer)


def test_other_prompts_are_refused() -> None:
    with pytest.raises(ModelInputError, match="two traces of one prompt"):
        effect(make_trace(), make_trace(prompt="Where?"))


def test_other_images_are_refused_by_name() -> None:
    red, blue = (Image.new("RGB", (8, 8), colour) for colour in ("red", "blue"))
    one, other, nameless = (
        make_trace(provenance={"images": describe_images([image], [name])})
        for image, name in ((red, "cat.png"), (blue, "dog.png"), (red, ""))
    )
    told = r"cat\.png \(8 x 8 pixels, sha256 \w{8}\) and dog\.png \(8 x 8 .*; expected: two traces of one image"
    for compared in (effect, compare, lambda trace, other: page(trace, compare=other)):
        with pytest.raises(ModelInputError, match=told):
            compared(one, other)
    assert effect(one, nameless).same_answer
    assert effect(one, make_trace()).same_answer  # nothing is known of the second image but its tokens


def test_traces_are_called_by_the_intervention_that_one_of_them_had() -> None:
    plain, mended = make_trace(), make_trace(effects=({"name": "toy"},))
    assert side_names(plain, mended) == ("without the intervention", "with the intervention")
    assert side_names(mended, plain) == ("with the intervention", "without the intervention")
    assert side_names(plain, plain) == side_names(mended, mended) == ("first", "second")


def test_a_token_without_text_is_told_by_its_number() -> None:
    ids, words = torch.tensor([0, 9, 2]), ("a", "", "c")
    told = effect(make_trace(), make_trace(answer_ids=ids, answer_tokens=words, answer="ac"))
    assert "first word changed: 'b' -> '<token 9>'" in str(told)


def test_what_moved_by_hand() -> None:
    before = make_trace(steps=2)
    attention = before.attention.clone()
    attention[0, 0, 0, :2] += torch.tensor([-0.5, 0.5]) * attention[0, 0, 0, 0]
    after = make_trace(steps=2, attention=attention)
    told = effect(before, after)
    heads = before.num_layers * before.num_heads * 2
    assert told.moved_mass == pytest.approx(before.attention[0, 0, 0, 0].item() / 2 / heads, rel=1e-5)
    assert effect(before, make_trace(steps=2)).moved_mass == 0.0
    assert effect(before, make_trace(steps=2)).divergence == (0.0, 0.0)
    other = make_trace(steps=2, layer_indices=tuple(n + 1 for n in before.layer_indices))
    assert math.isnan(effect(before, other).moved_mass)


def test_divergence_is_the_kl_of_what_both_kept_and_never_above_the_whole() -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 2, 40).double() * 2
    full = torch.log_softmax(logits, -1)
    steps: Any = [full[n].topk(5) for n in range(2)]
    made = [
        make_trace(
            steps=2,
            top_ids=top.indices,
            top_log_probs=top.values.float(),
            answer_ids=torch.tensor([3, 4]),
            log_probs=full[n, torch.arange(2), torch.tensor([3, 4])].float(),
        )
        for n, top in enumerate(steps)
    ]
    whole = (full[0].exp() * (full[0] - full[1])).sum(-1)
    for step, least in enumerate(effect(*made).divergence):
        kept = [set(steps[n].indices[step].tolist()) | {[3, 4][step]} for n in range(2)]
        p, q = ([math.exp(full[n, step, token]) for token in sorted(kept[0] & kept[1])] for n in range(2))
        p, q = [*p, 1 - sum(p)], [*q, 1 - sum(q)]
        assert least == pytest.approx(sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)), abs=1e-5)
        assert 0 <= least <= whole[step] + 1e-6


def test_every_intervention_tells_what_it_did_or_why_not() -> None:
    reports: tuple[dict[str, Any], ...] = (
        {
            "name": "gains",
            "changed": True,
            "scaled_heads": 4,
            "scaled_heads_per_layer": {"2": 4},
            "forwards": 2,
            "rows": 2,
        }
        | {"perception_share": 0.25},
        {"name": "cell", "changed": True, "shifted_layers": [0, 1], "forwards": 2, "rows": 2}
        | {"gate_means_per_layer": {"constraint": {"0": 0.5, "1": 0.75}, "correction": {}}},
        {"name": "chooser", "changed": True, "rejections": 3, "forwards": 2, "rows": 2},
        {"name": "idle", "changed": False, "no_effect_reason": "no head met its rule", "forwards": 2, "rows": 2},
        {"name": "blind", "changed": False, "saw_image": False, "forwards": 2, "rows": 2},
    )
    told = effect(make_trace(), make_trace(effects=reports))
    assert told.edited_layers == (0, 1, 2)
    assert told.edited_rows == 10
    for line in (
        "gains: scaled 4 head outputs over 2 forwards\n  perception share 0.25",
        "cell: shifted the stream after 2 layers over 2 forwards\n  mean constraint gate 0.625\nchooser",
        "chooser: chose other tokens over 2 forwards\n  rejections 3",
        "idle: changed nothing over 2 forwards: no head met its rule",
        "blind: changed nothing over 2 forwards: the prompt holds no image",
        "moved by less than 0.001 nats at every step, as far as the kept tokens tell; 0.0% of the attention moved",
    ):
        assert line in str(told)


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"gamma": 0, "layers": [0.0, 1.0], "seed": 0, "exact": False}, "as set (gamma=0)"),
        ({"alpha": 0.0, "beta": 0}, "as set (alpha=0, beta=0)"),
        ({"gain": 1.0}, "it gives no reason, as where its settings change nothing"),
    ],
)
def test_a_strength_of_zero_is_the_reason(parameters: dict[str, Any], reason: str) -> None:
    report = {"name": "toy", "changed": False, "forwards": 3, "rows": 3, "saw_image": True}
    after = make_trace(effects=(report,), provenance={"interventions": [{"name": "toy", "parameters": parameters}]})
    assert f"toy: changed nothing over 3 forwards: {reason}\n" in str(effect(make_trace(), after))
    assert "no_effect_reason" not in after.effects[0]
