"""Interventions one after another: none keeps the next from acting, each has its own counts, and each is checked."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from transformers import LogitsProcessor

import lvlmscope as lv
from lvlmscope.attention.attention_rows import AttentionRows
from lvlmscope.errors import InterventionError
from lvlmscope.runtime.active_intervention import ActiveIntervention
from lvlmscope.runtime.edit_chain import edit_rows, edit_stream, head_gains
from lvlmscope.runtime.edit_record import CHECK_AT_ONCE, EditRecord
from lvlmscope.runtime.output_patching import apply_gain
from lvlmscope.runtime.protocol import ForwardInfo, ModelInfo, Session
from tests.runtime.test_attachment import ALL, OPTIONS, STEPS, generate
from tests.support import tiny_models
from tests.support.traced import from_inputs

IMAGE = torch.tensor([[[False, True, True, False, False]]])
POSITIONS = torch.tensor([1, 2])


class Doing(Session):
    """Does in each hook what it is given."""

    def __init__(self, what: Callable[[torch.Tensor], torch.Tensor | None], layers: frozenset[int] | None) -> None:
        self.what, self.row_layers = what, layers

    def edit_attention(self, rows: AttentionRows) -> torch.Tensor | None:
        return self.what(rows.weights)

    def head_gain(self, rows: AttentionRows) -> torch.Tensor | None:
        return self.what(rows.image_mass)

    def edit_hidden(self, layer: int, hidden: torch.Tensor, rows: torch.Tensor) -> torch.Tensor | None:  # noqa: ARG002
        return self.what(hidden)


def on(what: Callable[[torch.Tensor], torch.Tensor | None], layers: frozenset[int] | None = None) -> ActiveIntervention:
    """What acts, as if it were switched on."""
    return ActiveIntervention(Spoils("nothing"), Doing(what, layers))


def rows(layer: int = 3, batch: int = 1) -> AttentionRows:
    torch.manual_seed(0)
    weights = torch.rand(batch, 2, 3, 5).softmax(-1)
    return AttentionRows(weights, IMAGE, layer=layer, scores=weights.log)


SILENT = {
    "elsewhere": lambda: on(lambda x: x * 0, frozenset({7})),
    "nothing": lambda: on(lambda _: None),
    "the same": lambda: on(lambda x: x),
}


@pytest.mark.parametrize("name", SILENT)
def test_one_that_does_nothing_here_keeps_no_other_from_acting(name: str) -> None:
    first, before, last = SILENT[name](), on(lambda x: x * 2), on(lambda x: x + 1)
    active = [first, before, SILENT[name](), last]
    given = rows()
    assert torch.equal(edit_rows(active, given).weights, given.weights * 2 + 1)
    hidden = torch.rand(1, 3, 4)
    if name != "elsewhere":  # a layer of rows says nothing of the stream
        assert torch.equal(edit_stream(active, 3, hidden, POSITIONS), hidden * 2 + 1)
    gains = [gain for gain, _ in head_gains(active, given)]
    own = [given.image_mass] * 2 if name == "the same" else []  # a gain of any value is a gain
    assert len(gains) == 2 + len(own)
    for found, expected in zip(gains, [*own[:1], given.image_mass * 2, *own[:1], given.image_mass + 1], strict=True):
        assert torch.equal(found, expected)
    assert first.record.counts("edit_attention") == {}
    assert before.record.counts("edit_attention") == last.record.counts("edit_attention") == {3: 6}


def test_rows_that_nobody_edits_are_the_same_object() -> None:
    given = rows()
    assert edit_rows([each() for each in SILENT.values()], given) is given


def test_changes_are_counted_by_layer_row_and_head_and_added_up() -> None:
    record = EditRecord("Does")
    for layer in (1, 3, 3):
        given = rows(layer, batch=2)
        new = given.weights.clone()
        new[0, 1, 2] = new[0, 1, 2].flip(-1)
        new[1, :, 0, :2] = new[1, :, 0, :2].flip(-1)  # both rows of one head
        record.attention(given, new)
        gain = torch.ones(2, 2, 3)
        gain[1, 0, 1:] = 0.5
        record.gain(given, gain)
    stream = torch.rand(2, 3, 4)
    for layer, new in ((-1, stream + 1), (0, stream.clone()), (1, stream * 2), (1, stream * 3)):
        record.stream(layer, new, stream, 1)
    assert record.counts("edit_attention") == {1: 3, 3: 6}
    assert record.counts("head_gain") == {1: 2, 3: 4}
    assert list(record.counts("edit_hidden")) == [-1, 1]


def test_values_of_the_stream_that_no_row_predicts_from_may_be_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CHECK_AT_ONCE)
    stream = torch.rand(1, 3, 4)
    early, there, late = stream.clone(), stream.clone(), stream.clone()
    early[0, 0, 0] = torch.nan
    there[0, 2, 1] = late[0, 2, 1] = torch.inf
    for old, new, spoiled in ((stream, early, False), (there, late * 2, False), (stream, late, True)):
        record = EditRecord("Does")
        record.stream(0, new, old, 1)
        if not spoiled:
            record.require_edits()
            continue
        with pytest.raises(InterventionError, match="edit the residual stream with Does: got NaN or infinity"):
            record.require_edits()


def test_gains_multiply_and_reach_the_rows_that_they_say() -> None:
    values = torch.rand(2, 4, 3, 5)
    one, other = torch.rand(2, 2, 3), torch.rand(2, 2, 3)
    found = apply_gain(values, [(one, "predicting"), (other, "all")], 2)
    expected = values.clone()
    expected[:, 2:] *= (one * other).unsqueeze(-1)
    expected[:, :2] *= other[:, :1].unsqueeze(-1)  # as the first row that predicts
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(apply_gain(values[:, 2:], [(one, "all")], 0), values[:, 2:] * one.unsqueeze(-1))


class Late(Session):
    """Spoils what its kind says in every forward, or in those after the prompt's alone."""

    kind: str
    after_prompt: bool
    acts = False

    def begin_forward(self, forward: ForwardInfo) -> None:
        self.acts = forward.past_length > 0 or not self.after_prompt

    def edit_attention(self, rows: AttentionRows) -> torch.Tensor | None:
        if not self.acts or self.kind not in ("weights", "masked"):
            return None
        return rows.weights * float("nan") if self.kind == "weights" else torch.full_like(rows.weights, 0.02)

    def head_gain(self, rows: AttentionRows) -> torch.Tensor | None:
        return torch.full_like(rows.image_mass, float("inf")) if self.acts and self.kind == "gain" else None

    def edit_hidden(self, layer: int, hidden: torch.Tensor, rows: torch.Tensor) -> torch.Tensor | None:
        return hidden.index_fill(1, rows, float("nan")) if self.acts and self.kind == "stream" and layer == 1 else None

    def logits_processor(self) -> LogitsProcessor | None:
        return Spoiling(self) if self.kind == "scores" else None


class Spoiling(LogitsProcessor):
    def __init__(self, session: Late) -> None:
        self.session = session

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:  # noqa: ARG002
        return scores.index_fill(1, torch.tensor([3]), float("nan")) if self.session.acts else scores


@dataclass(frozen=True)
class Spoils:
    """An intervention that is wrong, as its kind says."""

    kind: str
    after_prompt: bool = False

    def start(self, model_info: ModelInfo) -> Session:  # noqa: ARG002
        session = Late()
        session.kind, session.after_prompt = self.kind, self.after_prompt
        return session

    def describe(self) -> dict[str, Any]:
        return {"name": f"Spoils {self.kind}"}


TOLD = {
    "weights": "edit attention with Spoils weights: got NaN",
    "masked": "edit attention with Spoils masked: got weight on a masked key",
    "gain": "scale heads with Spoils gain: got NaN or infinity",
    "stream": "edit the residual stream with Spoils stream: got NaN",
    "scores": "choose tokens with Spoils scores: got NaN",
}


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("kind", TOLD)
def test_a_wrong_edit_of_any_of_several_is_named_where_nobody_waited(
    kind: str, first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As users run it: looked at when the answer ends, and in forwards of one's own when each of them does."""
    monkeypatch.delenv(CHECK_AT_ONCE)
    case = tiny_models.llava(2)

    def stack(wrong: Spoils) -> tuple[Any, ...]:
        return (wrong, ALL[2]) if first else (ALL[2], wrong)

    with pytest.raises(InterventionError, match=TOLD[kind]), lv.intervene(case.model, *stack(Spoils(kind, True))):
        generate(case, max_new_tokens=2)
    if kind != "scores":
        with pytest.raises(InterventionError, match=TOLD[kind]), lv.intervene(case.model, *stack(Spoils(kind))):
            case.model(**case.inputs, logits_to_keep=1)


def test_each_of_several_reports_the_answer_that_was_given() -> None:
    case = tiny_models.llava()
    made = from_inputs(case.model, case.inputs, interventions=ALL, **OPTIONS)
    given = from_inputs(case.model, case.inputs, interventions=ALL, answer=made.answer_ids.tolist())
    assert [effect["rows"] for effect in given.effects] == [STEPS] * len(ALL)
    for one, other in zip(made.effects, given.effects, strict=True):
        assert one["changed"]
        assert one["edited_heads_per_layer"] == other["edited_heads_per_layer"]
        assert one["scaled_heads_per_layer"] == other["scaled_heads_per_layer"]
