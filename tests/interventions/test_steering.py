"""Directions, steering by them, and AD-HH: twins, planted states, files and refusals."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

import lvlmscope as lv
from lvlmscope.diagnostics import planted_trace
from lvlmscope.errors import InterventionError, ModelInputError, OutputError
from lvlmscope.evaluation import label_words
from lvlmscope.evaluation.metrics.vocabulary import vocabulary
from lvlmscope.interventions import ADHH, Directions, Steering
from lvlmscope.runtime.attachment import intervene
from lvlmscope.traces.trace import Trace
from tests.reference import decoder
from tests.reference import steering as twin
from tests.support import tiny_models
from tests.support.planted_directions import planted_directions
from tests.support.started_sessions import traced

STEPS = 4


def with_states(direction: torch.Tensor, *, hallucinated: int) -> Trace:
    """A trace whose states after each layer lie along a direction at one step."""
    trace = planted_trace(steps=STEPS, layers=3, heads=2, side=2)
    states = torch.randn(STEPS, 4, len(direction), generator=torch.Generator().manual_seed(hallucinated)) * 0.01
    states[hallucinated] += direction
    return dataclasses.replace(trace, hidden_states=states)


def test_a_planted_direction_is_found() -> None:
    case = tiny_models.llava()
    size = case.model.config.get_text_config().hidden_size
    direction = torch.nn.functional.normalize(torch.randn(size, generator=torch.Generator().manual_seed(9)), dim=0)
    traces = [with_states(direction, hallucinated=step) for step in (1, 2)]
    found = Directions.between(case.model, traces, hallucinated=[[1], [2]], grounded=[[0, 3], [0, 1]])
    assert found.vectors.shape == (3, size)
    torch.testing.assert_close(found.vectors.norm(dim=-1), torch.ones(3))
    assert ((found.vectors @ direction) > 0.99).all()


def test_steering_moves_each_predicting_state_as_its_twin_does() -> None:
    case = tiny_models.llava()
    path = planted_directions()
    directions = Directions.load(path)
    ask: dict[str, Any] = {"hidden_states": True}
    plain = traced(case, Steering(directions=path, strength=0.0), **ask)
    moved = traced(case, Steering(directions=path, strength=0.2, layers=[2]), **ask)
    assert plain.hidden_states is not None
    assert moved.hidden_states is not None
    assert torch.equal(plain.hidden_states[0, :3], moved.hidden_states[0, :3])
    expected = twin.steered(plain.hidden_states[0, 3].tolist(), directions.vectors[2].tolist(), 0.2)
    torch.testing.assert_close(moved.hidden_states[0, 3], torch.tensor(expected), atol=1e-5, rtol=1e-4)
    assert moved.effects[0]["shifted_layers"] == [2]


def test_directions_of_another_model_are_refused(tmp_path: Path) -> None:
    path, other = planted_directions(), tiny_models.llava(seed=1)
    with pytest.raises(InterventionError, match="of another model"), intervene(other.model, Steering(directions=path)):
        pass
    with pytest.raises(InterventionError, match="a file of Directions"):
        Directions.load(tmp_path / "none.safetensors")
    (tmp_path / "text.safetensors").write_text("no tensors")
    with pytest.raises(InterventionError, match="a file of Directions"):
        Directions.load(tmp_path / "text.safetensors")
    with pytest.raises(OutputError, match="a folder that exists"):
        Directions.load(path).save(tmp_path / "no" / "folder.safetensors")


@pytest.mark.parametrize(
    ("steps", "match"),
    [
        ({"hallucinated": [[1]], "grounded": []}, "1 traces, 1 and 0 lists of steps"),
        ({"hallucinated": [[]], "grounded": [[1]]}, "no hallucinated word"),
        ({"hallucinated": [[1]], "grounded": [[9]]}, "step 9; expected: steps 0 to 3"),
    ],
)
def test_words_of_both_kinds_are_needed(steps: dict[str, Any], match: str) -> None:
    case = tiny_models.llava()
    trace = with_states(torch.ones(4), hallucinated=1)
    with pytest.raises(InterventionError, match=match):
        Directions.between(case.model, [trace], **steps)
    bare = dataclasses.replace(trace, hidden_states=None)
    with pytest.raises(InterventionError, match="without hidden states"):
        Directions.between(case.model, [bare], hallucinated=[[1]], grounded=[[2]])


def test_adhh_agrees_with_its_twin() -> None:
    case = tiny_models.llava()
    found = traced(case, ADHH(heads=("0.1", "1.0", "1.3"), threshold=0.1))
    first = int(case.image_mask[0].nonzero().max()) + 1
    heads = {0: (1,), 1: (0, 3)}
    edited = 0

    def edit(layer: int, _: int, weights: torch.Tensor, __: torch.Tensor) -> torch.Tensor:
        nonlocal edited
        new = weights.clone()
        for head in heads.get(layer, ()):
            text = [key >= first for key in range(weights.shape[-1])]
            new[head] = torch.tensor(twin.deactivated(weights[head].tolist(), text, 0.1), dtype=weights.dtype)
            edited += not torch.equal(new[head], weights[head])
        return new

    expected = decoder.answer_log_probs(case.model, case.inputs, found.answer_ids, edit)
    torch.testing.assert_close(found.log_probs, expected.float(), atol=1e-5, rtol=1e-5)
    assert found.effects[0]["deactivated_heads"] == found.effects[0]["edited_heads"] == edited > 0


def test_heads_are_those_that_look_at_the_text_for_hallucinated_words() -> None:
    trace = planted_trace(steps=STEPS, layers=2, heads=3, side=2)
    weights = trace.attention.clone()
    after = trace.image_keys.flip(0).cumsum(0).flip(0) == 0
    weights[...] = 0.0
    weights[..., trace.image_keys] = 1 / int(trace.image_keys.sum())
    weights[1, 1, 2] = 0.0
    weights[1, 1, 2, int(after.nonzero()[0])] = 1.0
    trace = dataclasses.replace(trace, attention=weights)
    found = ADHH.from_traces([trace], hallucinated=[[1]], grounded=[[0, 2]], count=1, threshold=0.3)
    assert found == ADHH(heads=("1.2",), threshold=0.3)
    with pytest.raises(ModelInputError, match="count=9; expected: 1 to 6 heads"):
        ADHH.from_traces([trace], hallucinated=[[1]], grounded=[[0]], count=9)
    with pytest.raises(InterventionError, match="step 99; expected: steps 0 to 3"):
        ADHH.from_traces([trace], hallucinated=[[99]], grounded=[[0]])
    other = planted_trace(steps=STEPS, layers=3, heads=3, side=2)
    with pytest.raises(InterventionError, match="traces of different shapes"):
        ADHH.from_traces([trace, other], hallucinated=[[1], [1]], grounded=[[0], [0]])
    with pytest.raises((ModelInputError, TypeError), match="count"):
        ADHH.from_traces([trace], hallucinated=[[1]], grounded=[[0]], count=2.5)  # type: ignore[arg-type]
    with pytest.raises(InterventionError, match="no grounded word"):
        ADHH.from_traces([trace], hallucinated=[[1]], grounded=[[]])


def test_heads_that_are_none_are_refused() -> None:
    for heads in (("3",), ("a.b",), ("1.2.3",)):
        with pytest.raises(ModelInputError, match=r"heads as 'layer\.head'"):
            ADHH(heads=heads)
    case = tiny_models.llava()
    with (
        pytest.raises(ModelInputError, match=r"head 7\.0; expected: layers 0, 1, 2, heads"),
        intervene(case.model, ADHH(heads=("7.0",))),
    ):
        pass


def test_directions_of_the_bundled_model_come_from_its_own_captions(tmp_path: Path) -> None:
    model = lv.load("tiny")
    scenes = [lv.tiny.scene("prior", number) for number in range(4)]
    ask: dict[str, Any] = {"prompt": "Describe the image.", "max_new_tokens": 30, "hidden_states": True}
    traces = [lv.trace(model, scene.image, **ask) for scene in scenes]
    words = [label_words(t, scene.present, vocabulary()) for t, scene in zip(traces, scenes, strict=True)]
    steps = {
        kind: [[step for word in each if word.label == kind for step in word.steps] for each in words]
        for kind in ("hallucinated", "grounded")
    }
    Directions.between(model, traces, **steps).save(tmp_path / "tiny.safetensors")
    steering = lv.Steering(directions=tmp_path / "tiny.safetensors", strength=0.3)
    after = lv.trace(model, scenes[0].image, interventions=[steering], **ask)
    assert after.effects[0]["changed"]
    assert not torch.equal(after.log_probs[:1], traces[0].log_probs[:1])
