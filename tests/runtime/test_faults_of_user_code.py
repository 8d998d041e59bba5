"""Edits in place, NaN and exceptions of interventions, processors and criteria: refused or noted, with their names."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import LogitsProcessor

import lvlmscope as lv
from lvlmscope.attention.attention_rows import AttentionRows
from lvlmscope.errors import InterventionError, ModelInputError
from lvlmscope.runtime.edit_record import CHECK_AT_ONCE
from lvlmscope.runtime.protocol import Session
from tests.runtime.test_attachment import OPTIONS, Toy, generate
from tests.support import tiny_models
from tests.support.traced import from_inputs


class InWeights(Session):
    def edit_attention(self, rows: AttentionRows) -> torch.Tensor | None:
        new = rows.weights
        new[:, :, 0] = new[:, :, 1]
        return new


class InDetachedWeights(Session):
    def edit_attention(self, rows: AttentionRows) -> torch.Tensor | None:
        rows.weights.detach().mul_(0.5)
        return None


class InScores(Session):
    def edit_attention(self, rows: AttentionRows) -> torch.Tensor | None:
        rows.scores[:, :, 0] = 0.0
        return None


class InWeightsForGain(Session):
    def head_gain(self, rows: AttentionRows) -> torch.Tensor | None:
        rows.weights.mul_(0.5)
        return None


class InStream(Session):
    def edit_hidden(self, layer: int, hidden: torch.Tensor, rows: torch.Tensor) -> torch.Tensor | None:
        if layer == 1:
            hidden[:, rows] *= 2
        return hidden


class InLogits(Session):
    def end_forward(self, logits: torch.Tensor) -> None:
        logits[..., 7] = 1e4


IN_PLACE = (InWeights, InDetachedWeights, InScores, InWeightsForGain, InStream, InLogits)


@pytest.mark.parametrize("inference", [False, True])
@pytest.mark.parametrize("session", IN_PLACE, ids=lambda kind: kind.__name__)
def test_an_edit_in_place_is_refused_by_name(session: type[Session], inference: bool) -> None:
    case = tiny_models.llava()
    plain = generate(case)
    before = tiny_models.footprint(case.model)
    with (
        torch.inference_mode(inference),
        pytest.raises(
            InterventionError, match=rf"intervention {session.__name__}: got [a-z.]+ changed in place; .*\.clone"
        ),
    ):
        from_inputs(case.model, case.inputs, interventions=[Toy(session)], **OPTIONS)
    assert tiny_models.footprint(case.model) == before
    assert torch.equal(generate(case).logits[0], plain.logits[0])


@pytest.mark.parametrize("session", [InWeights, InScores, InStream, InLogits], ids=lambda kind: kind.__name__)
def test_an_edit_in_place_is_refused_when_the_answer_ends_where_nobody_waited(
    session: type[Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(CHECK_AT_ONCE)
    case = tiny_models.llava()
    named = rf"intervention {session.__name__}: got [a-z.]+ changed in place"
    runs = (
        lambda: case.model(**case.inputs, logits_to_keep=1),
        lambda: case.model.generate(**case.inputs, max_new_tokens=3, min_new_tokens=3),
    )
    for run in runs:
        with (
            torch.inference_mode(),
            pytest.raises(InterventionError, match=named),
            lv.intervene(case.model, Toy(session)),
        ):
            run()


class NotANumber(Session):
    """NaN where its strength says."""

    strength: float

    def edit_attention(self, rows: AttentionRows) -> torch.Tensor | None:
        return rows.weights * float("nan") if self.strength == 0 else None

    def head_gain(self, rows: AttentionRows) -> torch.Tensor | None:
        if self.strength == 2:
            return torch.ones(1)
        return torch.full_like(rows.image_mass, float("nan")) if self.strength == 1 else None

    def edit_hidden(self, layer: int, hidden: torch.Tensor, rows: torch.Tensor) -> torch.Tensor | None:
        if self.strength == 4 and layer == 0:
            return hidden[:, :, :5]
        return hidden.index_fill(1, rows, float("nan")) if self.strength == 3 and layer == 0 else None

    def logits_processor(self) -> LogitsProcessor | None:
        return Spoiling() if self.strength == 5 else None


class Spoiling(LogitsProcessor):
    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:  # noqa: ARG002
        scores[:, 3] = float("nan")
        return scores


@pytest.mark.parametrize(
    ("strength", "told"),
    [
        (0.0, "edit attention with NotANumber: got NaN"),
        (1.0, "scale heads with NotANumber: got NaN"),
        (2.0, r"scale heads with NotANumber: got gain float32\[1\]"),
        (3.0, "edit the residual stream with NotANumber: got NaN"),
        (4.0, "edit the residual stream with NotANumber: got new float32"),
        (5.0, "choose tokens with NotANumber: got NaN"),
    ],
)
def test_nan_of_an_intervention_names_it(strength: float, told: str) -> None:
    case = tiny_models.llava()
    with pytest.raises(InterventionError, match=told):
        from_inputs(case.model, case.inputs, interventions=[Toy(NotANumber, strength)], **OPTIONS)


class Raising(Session):
    """Raises what its class holds, in the hook it names."""

    strength: float
    error: Exception = ValueError("mine")
    hook = ""

    def _raise(self, hook: str) -> None:
        if self.hook == hook:
            raise self.error

    def begin_generate(self, options: Any) -> None:  # noqa: ARG002
        self._raise("begin_generate")

    def begin_forward(self, forward: Any) -> None:  # noqa: ARG002
        self._raise("begin_forward")

    def edit_attention(self, rows: AttentionRows) -> torch.Tensor | None:  # noqa: ARG002
        self._raise("edit_attention")
        return None

    def head_gain(self, rows: AttentionRows) -> torch.Tensor | None:  # noqa: ARG002
        self._raise("head_gain")
        return None

    def edit_hidden(self, layer: int, hidden: torch.Tensor, rows: torch.Tensor) -> torch.Tensor | None:  # noqa: ARG002
        self._raise("edit_hidden")
        return None

    def end_forward(self, logits: torch.Tensor) -> None:  # noqa: ARG002
        self._raise("end_forward")

    def logits_processor(self) -> LogitsProcessor | None:
        self._raise("logits_processor")
        return None


HOOKS = (
    "begin_generate",
    "begin_forward",
    "edit_attention",
    "head_gain",
    "edit_hidden",
    "end_forward",
    "logits_processor",
)
ERRORS = (ValueError("mine"), IndexError("mine"), RuntimeError("mine"), KeyError("mine"))


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_exception_of_an_intervention_keeps_its_type_and_says_where_it_comes_from(
    hook: str, error: Exception
) -> None:
    case = tiny_models.llava()
    kind = type("Mine", (Raising,), {"hook": hook, "error": type(error)("mine")})
    with pytest.raises(type(error), match="mine") as raised:
        from_inputs(case.model, case.inputs, interventions=[Toy(kind)], **OPTIONS)
    assert type(raised.value) is type(error)
    assert raised.value.__notes__ == [f"raised by the intervention Mine, in {hook}"]


class Bad(LogitsProcessor):
    def __init__(self, error: Exception) -> None:
        self.error = error

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:  # noqa: ARG002
        return self._helped()

    def _helped(self) -> torch.Tensor:
        raise self.error


def stop(*_: Any, **__: Any) -> Any:
    raise IndexError("list index out of range")


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_exception_of_a_logits_processor_keeps_its_type(error: Exception) -> None:
    case = tiny_models.llava()
    options: dict[str, Any] = OPTIONS | {"logits_processor": [Spoiling(), Bad(type(error)("mine"))]}
    with pytest.raises(type(error), match="mine") as raised:
        from_inputs(case.model, case.inputs, **options)
    assert not isinstance(raised.value, ModelInputError)
    assert raised.value.__notes__ == ["raised by logits_processor[1], Bad"]


@pytest.mark.parametrize(
    ("name", "value", "note"),
    [
        ("stopping_criteria", [stop], "stopping_criteria[0], stop"),
        ("prefix_allowed_tokens_fn", stop, "prefix_allowed_tokens_fn, stop"),
        ("stopping_criteria", [lambda *_, **__: stop()], "stopping_criteria[0], <lambda>"),
    ],
)
def test_an_exception_of_a_criterion_or_function_keeps_its_type(name: str, value: Any, note: str) -> None:
    case = tiny_models.llava()
    with pytest.raises(IndexError, match="list index out of range") as raised:
        from_inputs(case.model, case.inputs, **OPTIONS, **{name: value})
    assert type(raised.value) is IndexError
    assert raised.value.__notes__ == [f"raised by {note}"]


def test_what_the_model_fails_on_is_still_told_as_inputs() -> None:
    case = tiny_models.llava()
    ids = case.inputs["input_ids"]
    broken = case.inputs | {"input_ids": ids.where(ids.cumsum(1) != ids[:, :8].sum(), 9)}  # one image token fewer
    assert (broken["input_ids"] == tiny_models.IMAGE).sum() == 15
    calls: list[Callable[[], Any]] = [lambda: from_inputs(case.model, broken, **OPTIONS)]
    calls.append(lambda: from_inputs(case.model, broken, **OPTIONS, logits_processor=[Spoiling()]))
    for call in calls:
        with pytest.raises(ModelInputError, match="inputs on which it fails"):
            call()


def test_no_user_code_no_note() -> None:
    with pytest.raises(lv.LvlmscopeError) as raised:
        from_inputs(tiny_models.llava().model, tiny_models.llava().inputs, num_return_sequences=2)
    assert not getattr(raised.value, "__notes__", [])
