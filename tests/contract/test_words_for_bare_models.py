"""An intervention that writes words into the prompt finds the tokenizer wherever a call is given the processor."""

from collections.abc import Callable
from typing import Any

import pytest

import lvlmscope as lv
from lvlmscope.evaluation import bundled_dataset
from lvlmscope.tiny import scene, scenes

PROMPT = "Describe the image."
SHORT: dict[str, Any] = {"max_new_tokens": 3, "progress": False}


@pytest.fixture(scope="module")
def loaded() -> lv.LoadedModel:
    return lv.load("tiny", check=False)


def of_prompt(processor: Any) -> Any:
    chat = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": PROMPT}]}]
    text = processor.apply_chat_template(chat, add_generation_prompt=True)
    return processor(images=[scene("prior", 0).image], text=text, return_tensors="pt")


def of_trace(model: Any, processor: Any) -> Any:
    return lv.trace(
        model, scene("prior", 0).image, PROMPT, processor=processor, interventions=lv.ICD(), **SHORT
    ).effects


def of_inputs(model: Any, processor: Any) -> Any:
    inputs = of_prompt(processor)
    return lv.trace_inputs(model, inputs, processor=processor, interventions=lv.ICD(), **SHORT)[0].effects


def of_many(model: Any, processor: Any) -> Any:
    examples = [scene("prior", 0).image]
    (made,) = lv.trace_many(model, examples, prompt=PROMPT, processor=processor, interventions=lv.ICD(), **SHORT)
    assert isinstance(made, lv.Trace), made
    return made.effects


def of_tuning(model: Any, processor: Any) -> Any:
    data = bundled_dataset("tiny-chair", n=1)
    return lv.tune(model, "ICD", data, processor=processor, trials=1, score="recall", max_new_tokens=3).trials


def of_evaluation(model: Any, processor: Any) -> Any:
    data = bundled_dataset("tiny-chair", n=1)
    return lv.evaluate(model, data, lv.ICD(), processor=processor, max_new_tokens=3, resamples=100).rows[1].edits


@pytest.mark.parametrize(
    "call", [of_trace, of_inputs, of_many, of_tuning, of_evaluation], ids=lambda each: each.__name__
)
def test_a_bare_model_beside_its_processor(call: Callable[[Any, Any], Any], loaded: lv.LoadedModel) -> None:
    assert call(loaded.model, loaded.processor)


def test_what_was_loaded_is_tuned(loaded: lv.LoadedModel) -> None:
    found = lv.tune(loaded, "ICD", list(scenes("tune", n=2)), trials=1, score="recall", max_new_tokens=3)
    assert len(found.trials) == 1
