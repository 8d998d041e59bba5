"""Interventions: edits act alike in stepwise generation and in the replay, and leave nothing behind."""

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from transformers import LlavaForConditionalGeneration, LogitsProcessor

from lvlmscope.attention.attention_rows import AttentionRows
from lvlmscope.errors import InterventionError, ModelInputError
from lvlmscope.interventions import DLEAF
from lvlmscope.runtime.attachment import attach, intervene, stack_of
from lvlmscope.runtime.protocol import ForwardInfo, ModelInfo, Session
from lvlmscope.traces.trace import Trace
from tests.support import tiny_models
from tests.support.traced import from_inputs

STEPS = 6
OPTIONS: dict[str, Any] = {"max_new_tokens": STEPS, "suppress_tokens": tiny_models.SUPPRESSED, "do_sample": False}


@dataclass(frozen=True)
class Toy:
    """An intervention whose session is given by its class."""

    session: type[Session]
    strength: float = 0.5

    def start(self, model_info: ModelInfo) -> Session:
        session = self.session()
        session.model_info, session.strength = model_info, self.strength  # type: ignore[attr-defined]
        return session

    def describe(self) -> dict[str, Any]:
        return {"name": self.session.__name__, "strength": self.strength}


class TowardsImage(Session):
    """Mixes every odd head of layer 1 with the row's image distribution; remembers the rows it saw."""

    strength: float

    def __init__(self) -> None:
        self.seen: list[tuple[int, torch.Tensor]] = []
        self.forwards: list[ForwardInfo] = []

    def begin_forward(self, forward: ForwardInfo) -> None:
        self.forwards.append(forward)

    def edit_attention(self, rows: AttentionRows) -> torch.Tensor | None:
        assert rows.layer is not None
        self.seen.append((rows.layer, rows.weights))
        if rows.layer != 1:
            return None
        new = rows.weights.clone()
        new[:, :, 1::2] = torch.lerp(new, rows.image_distribution, self.strength)[:, :, 1::2]
        return new


class Louder(Session):
    strength: float
    gain_rows = "all"

    def head_gain(self, rows: AttentionRows) -> torch.Tensor | None:
        return 1 + self.strength * (rows.image_mass > rows.image_mass.mean(-1, keepdim=True))


class Shifted(Session):
    strength: float

    def edit_hidden(self, layer: int, hidden: torch.Tensor, rows: torch.Tensor) -> torch.Tensor | None:  # noqa: ARG002
        return hidden + self.strength * hidden.roll(1, -1) if layer == 1 else None


class Broken(Session):
    strength: float

    def edit_attention(self, rows: AttentionRows) -> torch.Tensor | None:
        if self.strength == 2:
            raise RuntimeError("broken on purpose")
        if self.strength == 3:
            return torch.full_like(rows.weights, 0.1)
        return rows.weights[..., :-1] if self.strength == 1 else rows.weights * float("nan")


class Favoured(LogitsProcessor):
    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:  # noqa: ARG002
        scores[:, 77] = 1e4
        return scores


class Pusher(Session):
    def logits_processor(self) -> LogitsProcessor | None:
        return Favoured()


class Nothing(Session):
    """Overrides every hook and edits nothing."""

    def edit_attention(self, rows: AttentionRows) -> torch.Tensor | None:
        return rows.weights

    def head_gain(self, rows: AttentionRows) -> torch.Tensor | None:
        return torch.ones_like(rows.image_mass)

    def edit_hidden(self, layer: int, hidden: torch.Tensor, rows: torch.Tensor) -> torch.Tensor | None:  # noqa: ARG002
        return hidden.clone()


ALL = (Toy(TowardsImage), Toy(Louder), Toy(Shifted))


def generate(case: tiny_models.TinyCase, inputs: Any = None, **options: Any) -> Any:
    inputs = case.inputs if inputs is None else inputs
    return case.model.generate(**inputs, **(OPTIONS | options), return_dict_in_generate=True, output_logits=True)


@pytest.mark.parametrize("interventions", [ALL[:1], ALL[1:2], ALL[2:], ALL])
def test_the_replay_repeats_edited_generation(interventions: tuple[Toy, ...]) -> None:
    case = tiny_models.llava()
    plain = from_inputs(case.model, case.inputs, **OPTIONS)
    edited = from_inputs(case.model, case.inputs, interventions=interventions, gradients=True, **OPTIONS)
    assert isinstance(plain, Trace)
    assert isinstance(edited, Trace)
    assert edited.provenance["replay"]["difference"] < 1e-4
    assert [effect["changed"] for effect in edited.effects] == [True] * len(interventions)
    assert edited.effects[0]["forwards"] == STEPS
    assert not torch.allclose(edited.log_probs[0], plain.log_probs[0], atol=1e-4)


def test_the_trace_shows_rows_as_edited() -> None:
    case = tiny_models.llava()
    handle = attach(case.model, Toy(TowardsImage), Toy(TowardsImage, 0.4))
    output = generate(case)
    second = handle._active[1].session
    assert isinstance(second, TowardsImage)
    first_step = second.seen[1][1][0, 0]
    traced = from_inputs(case.model, case.inputs, **OPTIONS)
    handle.remove()
    assert isinstance(traced, Trace)
    assert traced.answer_ids.tolist() == output.sequences[0, -STEPS:].tolist()
    once = from_inputs(case.model, case.inputs, interventions=Toy(TowardsImage, 0.7), **OPTIONS)
    assert isinstance(once, Trace)
    torch.testing.assert_close(once.attention, traced.attention, atol=1e-5, rtol=1e-4)  # 1 - 0.5 * 0.6 = 0.7
    assert first_step[1::2, ~traced.image_keys[: traced.prompt_length]].sum(-1).max() < 0.5


def test_editing_nothing_is_identical_to_the_last_bit() -> None:
    case = tiny_models.llava(2)
    plain = generate(case)
    with intervene(case.model, Toy(Nothing), Toy(TowardsImage, 0.0), Toy(Louder, 0.0), Toy(Shifted, 0.0)) as handle:
        edited = generate(case)
    assert torch.equal(plain.sequences, edited.sequences)
    assert all(torch.equal(a, b) for a, b in zip(plain.logits, edited.logits, strict=True))
    assert not any(report["changed"] for report in handle.report())


def test_only_changed_heads_leave_the_kernel() -> None:
    case = tiny_models.llava()
    with intervene(case.model, Toy(TowardsImage)) as handle:
        generate(case)
    report = handle.report()[0]
    assert report["edited_heads"] == 3 * STEPS
    assert report["edited_heads_per_layer"] == {"1": 3 * STEPS}


@pytest.mark.parametrize(
    "options", [{}, {"num_beams": 3}, {"use_cache": False}, {"do_sample": True, "top_k": 1}, {"do_sample": True}]
)
def test_a_left_padded_batch_is_edited_like_single_samples(options: dict[str, Any]) -> None:
    case = tiny_models.llava(2)
    with intervene(case.model, *ALL):
        torch.manual_seed(0)
        batch = generate(case, **options)
        alone = [generate(case, case.sample(n), **options) for n in range(2)]
    if options == {"do_sample": True}:  # sampled batches draw other numbers; the first token is drawn from the same
        first = torch.cat([each.logits[0] for each in alone])
        torch.testing.assert_close(batch.logits[0], first, atol=1e-4, rtol=1e-4)
        return
    assert batch.sequences[:, -STEPS:].tolist() == [each.sequences[0, -STEPS:].tolist() for each in alone]


def test_generation_without_a_cache_and_in_chunks_is_edited_alike() -> None:
    case = tiny_models.llava()
    inputs = {"input_ids": torch.randint(5, 190, (1, 20))}
    with intervene(case.model, Toy(Louder), Toy(Shifted)):
        cached = generate(case, inputs)
    predicting = [Toy(Halved)]
    with intervene(case.model, *predicting):
        whole = generate(case, inputs)
        from transformers import DynamicCache

        chunks = generate(case, inputs, prefill_chunk_size=7, past_key_values=DynamicCache())
        again = generate(case, inputs, use_cache=False)
    assert whole.sequences.tolist() == chunks.sequences.tolist() == again.sequences.tolist()
    for a, b, c in zip(whole.logits, chunks.logits, again.logits, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(a, c, atol=1e-4, rtol=1e-4)
    assert cached.sequences.shape == whole.sequences.shape


class Halved(Session):
    """Moves half of every head's weight to the first key."""

    strength: float

    def edit_attention(self, rows: AttentionRows) -> torch.Tensor | None:
        new = rows.weights * 0.5
        new[..., 0] += 0.5
        return new


def test_stacked_interventions_leave_in_any_order() -> None:
    case = tiny_models.llava()
    plain = generate(case)
    before = tiny_models.footprint(case.model)
    first, second = attach(case.model, ALL[0]), attach(case.model, ALL[1], ALL[2])
    both = generate(case)
    first.remove()
    first.remove()
    rest = generate(case)
    second.remove()
    assert tiny_models.footprint(case.model) == before
    assert all(torch.equal(a, b) for a, b in zip(generate(case).logits, plain.logits, strict=True))
    assert not torch.equal(both.logits[0], rest.logits[0])
    assert first.report()[0]["changed"]


@pytest.mark.parametrize(
    ("strength", "error", "match"),
    [
        (0.0, InterventionError, "NaN"),
        (1.0, InterventionError, "rows' shape"),
        (2.0, RuntimeError, "on purpose"),
        (3.0, InterventionError, "masked key"),
    ],
)
def test_an_exception_leaves_nothing_behind(strength: float, error: type[Exception], match: str) -> None:
    case = tiny_models.llava(2)
    plain = generate(case)
    before = tiny_models.footprint(case.model)
    with pytest.raises(error, match=match), intervene(case.model, Toy(Broken, strength)):
        generate(case)
    with pytest.raises(error, match=match):
        from_inputs(case.model, case.inputs, interventions=[Toy(Broken, strength)], **OPTIONS)
    assert tiny_models.footprint(case.model) == before
    assert torch.equal(generate(case).logits[0], plain.logits[0])


def test_another_model_of_the_same_config_is_untouched() -> None:
    case = tiny_models.llava()
    other = LlavaForConditionalGeneration(case.model.config).eval()
    other.load_state_dict(case.model.state_dict())
    other.generation_config = case.model.generation_config
    plain = generate(case)
    with intervene(case.model, *ALL):
        generate(case)
        untouched = other.generate(**case.inputs, **OPTIONS, return_dict_in_generate=True, output_logits=True)
    assert all(torch.equal(a, b) for a, b in zip(plain.logits, untouched.logits, strict=True))


def test_a_logits_processor_chooses_words() -> None:
    case = tiny_models.llava()
    with intervene(case.model, Toy(Pusher)):
        traced = from_inputs(case.model, case.inputs, **OPTIONS)
    assert isinstance(traced, Trace)
    assert traced.answer_ids.tolist() == [77] * STEPS


def test_forward_information_names_keys_and_rows() -> None:
    case = tiny_models.llava(2)
    with intervene(case.model, Toy(TowardsImage)) as handle:
        session = handle._active[0].session
        assert isinstance(session, TowardsImage)
        generate(case)
    prompt, step = session.forwards[0], session.forwards[2]
    width = case.inputs["input_ids"].shape[1]
    assert (prompt.first_row, prompt.num_rows, prompt.is_prompt) == (width - 1, 1, True)
    assert (step.past_length, step.row_positions.tolist()) == (width + 1, [width + 1])
    assert torch.equal(step.image_keys[:, :width], case.image_mask)


def test_what_is_no_intervention_is_refused() -> None:
    case = tiny_models.llava()
    with pytest.raises(InterventionError, match="pass an instance"):
        attach(case.model, Toy)  # type: ignore[arg-type]


def test_one_intervention_stands_for_a_list_of_it() -> None:
    intervention = Toy(TowardsImage)
    assert stack_of(intervention) == stack_of([intervention]) == (intervention,)
    assert stack_of(None) == stack_of([]) == ()
    for wrong in ("dleaf", 3):  # a name is no list of letters
        with pytest.raises(
            InterventionError, match=rf"got {wrong!r}; expected: a list of interventions; .*lv\.DLEAF\(\)"
        ):
            stack_of(wrong)


def test_an_equal_intervention_is_refused_twice_in_one_list() -> None:
    case = tiny_models.llava()
    generate(case)  # which leaves attributes of its own
    before = tiny_models.footprint(case.model)
    with pytest.raises(InterventionError, match=r"DLEAF\(gamma=0\.5.* twice"):
        attach(case.model, DLEAF(gamma=0.5), DLEAF(gamma=0.5))
    assert tiny_models.footprint(case.model) == before
    handle = attach(case.model, DLEAF(gamma=0.5), DLEAF(gamma=0.25))
    with intervene(case.model, DLEAF(gamma=0.5)) as inner:  # a block within is meant
        generate(case)
        assert (len(handle.report()), len(inner.report())) == (2, 1)
    handle.withdraw()
    assert tiny_models.footprint(case.model) == before


def test_a_cache_from_before_is_refused() -> None:
    case = tiny_models.llava()
    output = generate(case)
    with pytest.raises(ModelInputError, match="before the intervention"), intervene(case.model, Toy(TowardsImage)):
        case.model(input_ids=output.sequences[:, -1:], past_key_values=output.past_key_values)
