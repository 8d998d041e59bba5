"""Bridges to other tools: conversations, lmms-eval's requests, Inspect's messages, transformers' pipeline."""

import asyncio
import importlib
import re
import sys
import tomllib
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import pipeline

import lvlmscope as lv
from lvlmscope.bridges import Answerer, inspect_provider, lmms_eval_model
from lvlmscope.errors import InterventionError, LvlmscopeError, PromptError, UnsupportedOptionError
from lvlmscope.tiny import scene
from tests.support.tool_protocols import inspect_there, lmms_eval_there, part

SCENES = [scene("prior", number) for number in range(3)]
PROMPT = "Describe the image."


@pytest.fixture(scope="module")
def model() -> lv.LoadedModel:
    return lv.load("tiny", check=False)


def turns(number: int, text: str = PROMPT) -> list[dict[str, Any]]:
    content = [{"type": "image", "image": SCENES[number].image}, {"type": "text", "text": text}]
    return [{"role": "user", "content": content}]


def traced(model: lv.LoadedModel, number: int, *stack: Any) -> str:
    with lv.intervene(model, *stack):
        return lv.trace(model, SCENES[number].image, PROMPT, max_new_tokens=12, progress=False).answer


def test_answers_are_those_of_a_trace_under_the_same_interventions(model: lv.LoadedModel) -> None:
    text = "clva:alpha=0.9;beta=0.5+locore:beta=0.3"
    stack = (lv.CLVA(alpha=0.9, beta=0.5), lv.LocoRE(beta=0.3))
    answerer = Answerer(model, text)
    assert answerer.stack == stack
    found = answerer.answer([turns(0), turns(1)], max_new_tokens=12)
    assert found.texts == tuple(traced(model, number, *stack).strip() for number in range(2))
    assert found.tokens == (12, 12)
    assert lv.attached(model) == ()


def test_a_batch_gives_what_each_conversation_gives_alone(model: lv.LoadedModel) -> None:
    conversations = [turns(0), turns(1, "Is there a dog in the image?"), turns(2)]
    alone = Answerer(model).answer(conversations, max_new_tokens=12)
    assert Answerer(model, batch_size=3).answer(conversations, max_new_tokens=12).texts == alone.texts


def test_options_of_sampling_count_only_where_it_samples(model: lv.LoadedModel) -> None:
    answerer = Answerer(model)
    greedy = answerer.answer([turns(0)], max_new_tokens=12)
    same = answerer.answer([turns(0)], max_new_tokens=12, temperature=0, top_p=0.9)
    assert same.texts == greedy.texts
    torch.manual_seed(1)
    drawn = answerer.answer([turns(0)], max_new_tokens=12, temperature=5.0)
    assert drawn.texts != greedy.texts
    cut = answerer.answer([turns(0)], max_new_tokens=12, stop=["", " image"])
    assert cut.texts[0] == greedy.texts[0].split(" image")[0].strip() != greedy.texts[0]


@pytest.mark.parametrize(
    ("conversations", "options", "error", "words"),
    [
        ([[]], {}, PromptError, "conversation 0 without messages"),
        ([turns(0)], {"frequency": 1}, UnsupportedOptionError, "got frequency=1; expected: do_sample, temperature"),
    ],
)
def test_what_cannot_be_answered_is_refused(
    model: lv.LoadedModel, conversations: Any, options: Any, error: type[LvlmscopeError], words: str
) -> None:
    with pytest.raises(error, match=words):
        Answerer(model).answer(conversations, max_new_tokens=4, **options)
    with pytest.raises(InterventionError, match="no_such"):
        Answerer(model, "no_such")


def test_entry_points_name_what_is_there() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))["project"]
    declared = {group: project["entry-points"][group]["lvlmscope"] for group in ("lmms_eval.models", "inspect_ai")}
    assert declared == {
        "lmms_eval.models": f"{lmms_eval_model.__name__}:{lmms_eval_model.manifest.__name__}",
        "inspect_ai": f"{inspect_provider.__name__}:provider",
    }
    for module in (lmms_eval_model, inspect_provider):
        with pytest.raises(AttributeError, match="no attribute 'Absent'"):
            module.Absent  # noqa: B018


def request(document: int, **options: Any) -> SimpleNamespace:
    """An instance as lmms-eval makes it."""

    def messages(doc: dict[str, Any]) -> list[dict[str, Any]]:
        content = [{"type": "image", "url": doc["image"]}, {"type": "text", "text": doc["question"]}]
        return [{"role": "user", "content": content}]

    return SimpleNamespace(args=("", messages, options, document, "world", "test"))


def test_lmms_eval_gets_its_answers_in_order(monkeypatch: pytest.MonkeyPatch, model: lv.LoadedModel) -> None:
    lmms_eval_there(monkeypatch)
    manifest = lmms_eval_model.manifest()
    module, _, name = manifest.chat_class_path.rpartition(".")
    assert (manifest.model_id, module) == ("lvlmscope", "lvlmscope.bridges.lmms_eval_model")
    lmms_eval_model._model_class.cache_clear()
    made = getattr(importlib.import_module(module), name)
    arguments = "pretrained=tiny,intervention=clva:alpha=0.9;beta=0.5"
    bridge = made.create_from_arg_string(arguments, {"batch_size": "2", "device": "cpu", "max_batch_size": None})
    assert not bridge.is_simple
    assert (bridge.batch_size, bridge.device) == (2, torch.device("cpu"))
    assert bridge.answerer.stack == (lv.CLVA(alpha=0.9, beta=0.5),)
    documents = [{"image": one.image, "question": PROMPT} for one in SCENES]
    bridge.task_dict = {"world": {"test": documents}}
    long, short = {"max_new_tokens": 12, "temperature": 0}, {"max_new_tokens": 3, "until": ["\n"]}
    found = bridge.generate_until([request(2, **long), request(0, **short), request(1, **long)])
    stack = (lv.CLVA(alpha=0.9, beta=0.5),)
    assert found[0].text == traced(model, 2, *stack).strip()
    assert found[2].text == traced(model, 1, *stack).strip()
    assert traced(model, 0, *stack).strip().startswith(found[1].text)
    assert [one.token_counts.output_tokens for one in found] == [12, 3, 12]
    for refused in (bridge.loglikelihood, bridge.generate_until_multi_round):
        with pytest.raises(UnsupportedOptionError, match="answer for lmms-eval: got a task"):
            refused([])
    lmms_eval_model._model_class.cache_clear()


def test_video_is_refused() -> None:
    with pytest.raises(UnsupportedOptionError, match="got video in a request"):
        lmms_eval_model.conversation([{"role": "user", "content": [{"type": "video", "url": "a.mp4"}]}])


def config(**given: Any) -> SimpleNamespace:
    names = ("max_tokens", "stop_seqs", "temperature", "top_p", "top_k", "logprobs")
    return SimpleNamespace(**{name: given.get(name) for name in names})


@pytest.mark.parametrize(
    "given",
    [{"seed": 0}, {"frequency_penalty": 0.5}, {"presence_penalty": -1.0}, {"num_choices": 2}, {"logprobs": True}],
)
def test_options_of_inspect_without_a_counterpart_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedOptionError, match=f"got {next(iter(given))}"):
        inspect_provider.generation_options(SimpleNamespace(**given))


def test_options_of_inspect_that_change_nothing_are_taken() -> None:
    given = SimpleNamespace(
        num_choices=1, frequency_penalty=0.0, logprobs=False, seed=None, max_tokens=5, temperature=0.5
    )
    assert inspect_provider.generation_options(given) == {"max_new_tokens": 5, "stop": [], "temperature": 0.5}


def test_inspect_gets_an_answer_with_its_usage(monkeypatch: pytest.MonkeyPatch, model: lv.LoadedModel) -> None:
    registered = inspect_there(monkeypatch)
    inspect_provider._provider.cache_clear()
    assert inspect_provider.provider is registered.models["lvlmscope"]
    api = registered.models["lvlmscope"](
        model_name="tiny", config="given", intervention="clva:alpha=0.9;beta=0.5", check=False
    )
    assert (api.model_name, api.config, api.max_connections()) == ("tiny", "given", 1)
    content = [part(type="image", image=SCENES[0].image), part(type="text", text=PROMPT)]
    asked = [part(role="user", content=content)]
    output = asyncio.run(api.generate(asked, [], "none", config(max_tokens=12)))
    assert output.completion == traced(model, 0, lv.CLVA(alpha=0.9, beta=0.5)).strip()
    assert (output.stop_reason, output.usage.output_tokens) == ("max_tokens", 12)
    with pytest.raises(UnsupportedOptionError, match="got 1 tools"):
        asyncio.run(api.generate(asked, ["search"], "auto", config()))
    with pytest.raises(UnsupportedOptionError, match="got logprobs"):
        asyncio.run(api.generate(asked, [], "none", config(logprobs=True)))
    for wrong, words in (
        (part(role="tool", content="x"), "a turn of tool"),
        (part(role="user", content=[part(type="audio")]), "a part of type audio"),
    ):
        with pytest.raises(UnsupportedOptionError, match=words):
            inspect_provider.conversation([wrong])
    inspect_provider._provider.cache_clear()


def test_the_documented_class_answers_messages_of_vlmevalkit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "howto" / "other-tools.md"
    (code,) = (
        block for block in re.findall(r"```py\n(.*?)```", page.read_text("utf-8"), re.DOTALL) if "vlmeval" in block
    )
    for name in ("vlmeval", "vlmeval.vlm", "vlmeval.vlm.base"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    sys.modules["vlmeval.vlm.base"].BaseModel = object  # type: ignore[attr-defined]
    names: dict[str, Any] = {}
    exec(compile(code, str(page), "exec"), names)
    made = names["Lvlmscope"]("tiny", "clva:alpha=0.9;beta=0.5", max_new_tokens=12, check=False)
    SCENES[1].image.save(tmp_path / "scene.png")
    message = [{"type": "image", "value": str(tmp_path / "scene.png")}, {"type": "text", "value": PROMPT}]
    expected = traced(made.answerer.model, 1, lv.CLVA(alpha=0.9, beta=0.5)).strip()
    assert made.generate_inner(message, dataset="any") == expected


def test_a_pipeline_of_transformers_answers_under_what_is_attached(model: lv.LoadedModel) -> None:
    pipe = pipeline("image-text-to-text", model=model.model, processor=model.processor)
    options = {"text": turns(0), "max_new_tokens": 12, "do_sample": False, "return_full_text": False}
    plain = pipe(**options)[0]["generated_text"]
    stack = lv.CLVA(alpha=0.9, beta=0.5)
    handle = lv.attach(pipe.model, stack)
    try:
        edited = pipe(**options)[0]["generated_text"]
    finally:
        handle.remove()
    assert edited == traced(model, 0, stack)
    assert plain == traced(model, 0) == pipe(**options)[0]["generated_text"]
