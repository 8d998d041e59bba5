"""Methods that mix logits: each step against twins on full forwards without a cache, alone, in batches and sampled."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from lvlmscope.errors import InterventionError, ModelInputError, UnsupportedOptionError
from lvlmscope.interventions import AGLA, ICD, M3ID, OPERA, PAI, SPIN, VCD, DeCo, DoLa
from lvlmscope.interventions.vcd import noised as noise
from lvlmscope.models.families import family_of
from lvlmscope.runtime.attachment import intervene
from lvlmscope.runtime.protocol import Intervention
from tests.reference import decoder
from tests.reference import decoding_methods as twin
from tests.reference import opera as opera_twin
from tests.support import tiny_models
from tests.support.started_sessions import traced
from tests.support.tiny_families import FAMILIES
from tests.support.uncached import Inputs, logits_of, steps_of, with_answer, with_columns, without_columns

STEPS = 4
OPTIONS: dict[str, Any] = {"max_new_tokens": STEPS, "do_sample": False, "suppress_tokens": tiny_models.SUPPRESSED}
WORDS = (3, 4, 5)
Steps = list[list[float]]


def image_keys(case: Any, inputs: Inputs) -> torch.Tensor:
    mask: torch.Tensor = family_of(case.model).image_mask(case.model, inputs["input_ids"])[0]
    return mask


def noised(_: Any, inputs: Inputs) -> Inputs:
    """Each image with the method's noise, mixed by the schedule of the twin."""
    kept = twin.kept_share(500)
    found = dict(inputs)
    for name, value in inputs.items():
        if "pixel_values" in name and value.is_floating_point():
            field = noise(torch.zeros_like(value), step=999, seed=0) / (1 - twin.kept_share(999)) ** 0.5
            assert 0.8 < float(field.std()) < 1.2
            assert float(field.mean().abs()) < 0.2
            found[name] = kept**0.5 * value + (1 - kept) ** 0.5 * field
    return found


def text_only(case: Any, inputs: Inputs) -> Inputs:
    return without_columns(inputs, ~image_keys(case, inputs))


def disturbed(case: Any, inputs: Inputs) -> Inputs:
    return with_columns(inputs, int(image_keys(case, inputs).nonzero().max()) + 1, list(WORDS))


def masked(case: Any, inputs: Inputs) -> Inputs:
    """The half of the image's tokens that the prompt's last row attends to least, to be blanked."""
    before = case.model.config._attn_implementation
    case.model.set_attn_implementation("eager")
    with torch.no_grad():
        rows = case.model(**inputs, output_attentions=True).attentions
    case.model.set_attn_implementation(before)
    image = image_keys(case, inputs)
    looked = torch.stack([layer[0, :, -1].sum(0) for layer in rows]).sum(0)[image]
    order = looked.argsort(descending=True)
    hidden = image.nonzero().flatten()[order[math.ceil(len(order) / 2) :]]
    return {"blanked": hidden, "image": image.nonzero().flatten(), **inputs}


def blanked_logits(case: Any, inputs: Inputs, answer: torch.Tensor) -> Steps:
    """Logits with the embeddings of some image tokens replaced by the mean of all."""
    given = dict(inputs)
    hidden, image = given.pop("blanked"), given.pop("image")

    def blank(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        stream = (args[0] if args else kwargs["hidden_states"]).clone()
        stream[:, hidden] = stream[:, image].mean(1, keepdim=True)
        return ((stream, *args[1:]), kwargs) if args else (args, kwargs | {"hidden_states": stream})

    layer = family_of(case.model).decoder_layers(case.model)[0]
    handle = layer.register_forward_pre_hook(blank, with_kwargs=True)
    try:
        return logits_of(case.model, given, answer)
    finally:
        handle.remove()


def mixed_with(
    other: Callable[[Any, Inputs], Inputs], mix: Callable[[list[float], list[float], int], list[float]]
) -> Callable[[Any, Inputs, torch.Tensor], Steps]:
    def expected(case: Any, inputs: Inputs, answer: torch.Tensor) -> Steps:
        own = logits_of(case.model, inputs, answer)
        changed = other(case, inputs)
        others = (
            blanked_logits(case, changed, answer) if "blanked" in changed else logits_of(case.model, changed, answer)
        )
        return [mix(*pair, step) for step, pair in enumerate(zip(own, others, strict=True))]

    return expected


def mixed_layers(
    layers: list[int], mix: Callable[[list[float], Steps], list[float]]
) -> Callable[[Any, Inputs, torch.Tensor], Steps]:
    def expected(case: Any, inputs: Inputs, answer: torch.Tensor) -> Steps:
        text = case.model.model.language_model

        def early(output: Any) -> Steps:
            states = [text.norm(output.hidden_states[layer + 1][0, -1]) for layer in layers]
            return [case.model.lm_head(state).double().tolist() for state in states]

        own = logits_of(case.model, inputs, answer)
        return [mix(*pair) for pair in zip(own, steps_of(case.model, inputs, answer, early), strict=True)]

    return expected


# So that four tokens are enough: the first rewarded for its attention on the image, the others penalised
TRUST: dict[str, Any] = {"scale": 20.0, "factor": 0.5, "window": 3, "image_steps": 1, "limit": 8.0}


def over_trusting(candidates: int, alpha: float) -> Callable[[Any, Inputs, torch.Tensor], Steps]:
    """Each candidate's own forward over everything before it, with attention from eager."""

    def expected(case: Any, inputs: Inputs, answer: torch.Tensor) -> Steps:
        found, own = [], logits_of(case.model, inputs, answer)
        image = image_keys(case, inputs).tolist()
        before = case.model.config._attn_implementation
        case.model.set_attn_implementation("eager")
        for step, logits in enumerate(own):
            penalties = {}
            for token in sorted(range(len(logits)), key=lambda each: -logits[each])[:candidates]:
                given = with_answer(inputs, torch.cat([answer[:step], torch.tensor([token])]))
                with torch.no_grad():
                    rows = case.model(**given, use_cache=False, output_attentions=True).attentions[-1][0]
                each = rows[:, len(image) :].transpose(0, 1).double().tolist()
                penalties[token] = opera_twin.penalty(each, image, **TRUST)
            found.append(opera_twin.penalised(logits, penalties, alpha))
        case.model.set_attn_implementation(before)
        return found

    return expected


METHODS: dict[str, tuple[Intervention, Callable[[Any, Inputs, torch.Tensor], Steps]]] = {
    "VCD": (VCD(), mixed_with(noised, lambda own, other, _: twin.contrast(own, other, 1.0, 0.1))),
    "ICD": (ICD(disturbance=WORDS), mixed_with(disturbed, lambda own, other, _: twin.contrast(own, other, 1.0, 0.1))),
    "M3ID": (
        M3ID(decay=0.3),
        mixed_with(text_only, lambda own, other, step: twin.m3id(own, other, 0.3, 0.9, step + 1)),
    ),
    "PAI": (PAI(alpha=0.0, gamma=1.5), mixed_with(text_only, lambda own, other, _: twin.pai(own, other, 1.5, 0.1))),
    "AGLA": (AGLA(), mixed_with(masked, lambda own, other, _: twin.summed(own, other, 2.0, 0.5))),
    "OPERA": (OPERA(candidates=6, alpha=0.7, **TRUST), over_trusting(6, 0.7)),
    "DoLa": (DoLa(layers=[0, 1]), mixed_layers([0, 1], lambda own, early: twin.dola(own, early, 0.1, 1.0))),
    "DeCo": (DeCo(layers=[0, 1]), mixed_layers([0, 1], lambda own, early: twin.deco(own, early, 0.6, 0.9, 20))),
}


def generated(case: Any, inputs: Inputs, method: Intervention, **options: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Answers and the scores from which they were chosen ``[sample, step, vocabulary]``."""
    with intervene(case.model, method):
        found = case.model.generate(**inputs, **(OPTIONS | options), return_dict_in_generate=True, output_scores=True)
    return found.sequences[:, -STEPS:], torch.stack(found.scores, 1)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl", "gemma3", "smolvlm"])
def test_agrees_with_its_uncached_twin(name: str, family: str) -> None:
    if name in ("DoLa", "DeCo") and family == "smolvlm":
        family = "qwen3_vl"  # SmolVLM's decoder lies elsewhere in the model
    method, expected = METHODS[name]
    case = FAMILIES[family](2)
    free = [n for n in range(case.model.config.get_text_config().vocab_size) if n not in tiny_models.SUPPRESSED]
    batch, in_batch = generated(case, case.inputs, method)
    for number, sample in enumerate(case.samples):
        answer, scores = generated(case, sample, method)
        found = expected(case, sample, answer[0])
        torch.testing.assert_close(
            scores[0].double()[:, free], torch.tensor(found, dtype=torch.float64)[:, free], atol=1e-4, rtol=1e-4
        )
        assert batch[number].tolist() == answer[0].tolist()
        torch.testing.assert_close(in_batch[number][:, free], scores[0][:, free], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", METHODS)
def test_a_trace_has_the_log_probabilities_before_and_after(name: str) -> None:
    method, expected = METHODS[name]
    case = tiny_models.llava()
    found = traced(case, method, suppress_tokens=None, max_new_tokens=STEPS, eos_token_id=None)
    own = torch.tensor(logits_of(case.model, case.inputs, found.answer_ids)).log_softmax(-1)
    mixed = torch.tensor(expected(case, case.inputs, found.answer_ids)).log_softmax(-1)
    chosen = found.answer_ids.unsqueeze(1)
    assert found.mixed_log_probs is not None
    torch.testing.assert_close(found.log_probs, own.gather(1, chosen)[:, 0].float(), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found.mixed_log_probs, mixed.gather(1, chosen)[:, 0].float(), atol=1e-4, rtol=1e-4)
    assert found.effects[0]["mixed_rows"] == STEPS


@pytest.mark.parametrize("name", METHODS)
def test_sampling_draws_from_the_mixture(name: str) -> None:
    method, expected = METHODS[name]
    case = tiny_models.llava()
    torch.manual_seed(5)
    answer, scores = generated(
        case, case.inputs, method, do_sample=True, suppress_tokens=None, top_k=0, eos_token_id=None
    )
    found = torch.tensor(expected(case, case.inputs, answer[0]))
    torch.testing.assert_close(scores[0].softmax(-1), found.softmax(-1), atol=1e-4, rtol=1e-4)


def test_pai_raises_the_images_scores() -> None:
    case = tiny_models.llava()
    found = traced(case, PAI(alpha=0.4, gamma=1.0, layers=[0, 2]))
    image = image_keys(case, case.inputs)

    def edit(layer: int, _: int, weights: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        if layer not in (0, 2):
            return weights
        seen = [key < len(image) and bool(image[key]) for key in range(scores.shape[-1])]
        return torch.tensor([twin.pai_weights(head.tolist(), seen, 0.4) for head in scores], dtype=scores.dtype)

    expected = decoder.answer_log_probs(case.model, case.inputs, found.answer_ids, edit)
    torch.testing.assert_close(found.log_probs, expected.float(), atol=1e-5, rtol=1e-5)
    assert found.mixed_log_probs is None


def test_spin_leaves_the_heads_that_look_most() -> None:
    case = tiny_models.llava()
    found = traced(case, SPIN(suppressed=0.5, alpha=0.3, layers=[0, 1]))
    image = image_keys(case, case.inputs)

    def edit(layer: int, _: int, weights: torch.Tensor, __: torch.Tensor) -> torch.Tensor:
        if layer not in (0, 1):
            return weights
        mass = weights[:, : len(image)][:, image].sum(-1).tolist()
        gains = twin.spin_gains(mass, math.ceil(len(mass) / 2), 0.3)
        return weights * torch.tensor(gains, dtype=weights.dtype).unsqueeze(-1)

    expected = decoder.answer_log_probs(case.model, case.inputs, found.answer_ids, edit)
    torch.testing.assert_close(found.log_probs, expected.float(), atol=1e-5, rtol=1e-5)
    assert found.effects[0]["suppressed_heads"] == found.effects[0]["scaled_heads"]


def test_spin_ranks_by_scores_as_the_released_code_does() -> None:
    case = tiny_models.llava()
    found = traced(case, SPIN(suppressed=0.5, alpha=0.3, layers=[1], by="scores"))
    image = image_keys(case, case.inputs)

    def edit(layer: int, _: int, weights: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        if layer != 1:
            return weights
        amount = scores[:, : len(image)][:, image].sum(-1).tolist()
        gains = twin.spin_gains(amount, len(amount) // 2, 0.3)
        return weights * torch.tensor(gains, dtype=weights.dtype).unsqueeze(-1)

    expected = decoder.answer_log_probs(case.model, case.inputs, found.answer_ids, edit)
    torch.testing.assert_close(found.log_probs, expected.float(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: VCD(T=1000), "T=1000"),
        (lambda: VCD(beta=1.0), "beta=1.0"),
        (lambda: M3ID(decay=-1.0), "decay=-1.0"),
        (lambda: PAI(gamma=0.5), "gamma=0.5"),
        (lambda: SPIN(suppressed=2.0), "suppressed=2.0"),
        (lambda: DeCo(top_p=0.0), "top_p=0.0"),
        (lambda: OPERA(candidates=1), "candidates=1"),
        (lambda: OPERA(scale=0.0), "scale=0.0"),
        (lambda: AGLA(kept=0.0), "kept=0.0"),
    ],
)
def test_parameters_out_of_range_are_refused(make: Callable[[], Intervention], match: str) -> None:
    with pytest.raises(ModelInputError, match=match):
        make()


def test_dola_needs_a_layer_before_the_last() -> None:
    case = tiny_models.llava()
    with pytest.raises(InterventionError, match="a layer before the last, 2"), intervene(case.model, DoLa(layers=[2])):
        pass


def test_words_need_a_tokenizer() -> None:
    case = tiny_models.llava()
    with pytest.raises(InterventionError, match="whose tokenizer is not known"), intervene(case.model, ICD()):
        case.model.generate(**case.inputs, **OPTIONS)


@pytest.mark.parametrize("options", [{"guidance_scale": 2.0}, {"prompt_lookup_num_tokens": 2}])
def test_another_way_of_choosing_is_refused_before_anything_runs(options: dict[str, Any]) -> None:
    case = tiny_models.llava()
    with pytest.raises(UnsupportedOptionError, match=next(iter(options))), intervene(case.model, VCD()):
        case.model.generate(**case.inputs, **OPTIONS, **options)
