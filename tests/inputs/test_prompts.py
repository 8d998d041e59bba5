"""What a model sees of a prompt: a question in its template, a whole prompt as it stands, messages."""

import base64
import io
from pathlib import Path
from typing import Any

import pytest
import torch

import lvlmscope as lv
from lvlmscope.errors import ImageInputError, PromptError
from lvlmscope.inputs.given_answer import tokenize_answer
from lvlmscope.inputs.preparation import join, prepare
from lvlmscope.inputs.prompt_text import fill_prompt
from lvlmscope.tiny import scene
from tests.support.saved_folders import load_folder as loaded
from tests.support.saved_folders import save_folder
from tests.support.tiny_models import SUPPRESSED

IMAGE = scene("prior", 0).image
OPTIONS: dict[str, Any] = {"max_new_tokens": 4, "progress": False}
QUESTION = "Describe the image."


@pytest.fixture(scope="module")
def tiny() -> Any:
    return lv.load("tiny")


@pytest.mark.parametrize(
    ("prompt", "seen"),
    [
        ("What is it?", "USER: <image>\nWhat is it? ASSISTANT:"),
        ("<image>\nWhat is it?", "USER: <image>\nWhat is it? ASSISTANT:"),
        ("What is it? <image>", "USER: What is it? <image> ASSISTANT:"),
        ("Look at  <image>  and say what it is.", "USER: Look at  <image>  and say what it is. ASSISTANT:"),
        ("USER: <image>\nWhat is it? ASSISTANT:", "USER: <image>\nWhat is it? ASSISTANT:"),
        ("USER: <image>\nWhat? ASSISTANT: A", "USER: <image>\nWhat? ASSISTANT: A"),
        ("<image>\nUSER: What? ASSISTANT:", "<image>\nUSER: What? ASSISTANT:"),
        ("What does the sign after USER: say?", "USER: <image>\nWhat does the sign after USER: say? ASSISTANT:"),
        ("Who is the assistant?", "USER: <image>\nWho is the assistant? ASSISTANT:"),
    ],
)
def test_the_text_that_the_model_sees(tiny: Any, prompt: str, seen: str) -> None:
    traced = lv.trace(tiny, IMAGE, prompt, **OPTIONS)
    assert (traced.prompt, traced.prompt_text) == (prompt, seen)
    ids = tiny.processor(images=IMAGE, text=seen, return_tensors="pt")["input_ids"][0]
    given = prepare(IMAGE, prompt, tiny.processor, tiny.family).inputs["input_ids"][0]
    assert torch.equal(given, ids)


@pytest.mark.parametrize(
    "prompt", ["USER: What is it? ASSISTANT:", "USER: <image><image> ASSISTANT:", "<image> <image>"]
)
def test_a_whole_prompt_needs_a_placeholder_for_each_image(tiny: Any, prompt: str) -> None:
    with pytest.raises(PromptError, match="of <image> and 1 images; expected: as many placeholders as images"):
        lv.trace(tiny, IMAGE, prompt, **OPTIONS)


def test_the_text_is_saved_and_printed(tiny: Any, tmp_path: Path) -> None:
    traced = lv.trace(tiny, IMAGE, QUESTION, **OPTIONS)
    traced.save(tmp_path / "a.safetensors")
    assert lv.load_trace(tmp_path / "a.safetensors").prompt_text == "USER: <image>\nDescribe the image. ASSISTANT:"
    lv.report(traced, tmp_path / "a.html")
    assert r'"promptText":"USER: ' in (tmp_path / "a.html").read_text(encoding="utf-8").replace('": "', '":"')
    inputs = prepare(IMAGE, QUESTION, tiny.processor, tiny.family).inputs
    (prepared,) = lv.trace_inputs(tiny, inputs, **OPTIONS)
    assert prepared.prompt_text.count("<image>") == 1
    assert prepared.prompt_text.endswith("Describe the image. ASSISTANT:")


def asked(*content: Any, role: str = "user") -> dict[str, Any]:
    return {"role": role, "content": list(content)}


PICTURE, WORDS = {"type": "image"}, {"type": "text", "text": QUESTION}


def test_messages_are_prompts(tiny: Any) -> None:
    plain = lv.trace(tiny, IMAGE, QUESTION, **OPTIONS)
    buffer = io.BytesIO()
    IMAGE.save(buffer, format="PNG")
    text = base64.b64encode(buffer.getvalue()).decode()
    for image, messages in [
        (IMAGE, [asked(PICTURE, WORDS)]),
        (IMAGE, [asked(WORDS)]),
        ([IMAGE], [{"role": "user", "content": QUESTION}]),
        (None, [asked({"type": "image", "image": IMAGE}, WORDS)]),
        (None, [asked({"type": "image", "base64": text}, WORDS)]),
        (None, (asked({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{text}"}}, WORDS),)),
    ]:
        traced = lv.trace(tiny, image, messages, **OPTIONS)
        assert torch.equal(traced.attention, plain.attention)
        assert traced.prompt == traced.prompt_text == plain.prompt_text
        assert traced.provenance["images"][0]["sha256"] == plain.provenance["images"][0]["sha256"]
        again = lv.trace(tiny, traced.image, traced.prompt, **OPTIONS)
        assert torch.equal(again.attention, plain.attention)


def test_turns_and_the_beginning_of_an_answer(tiny: Any) -> None:
    turns = [
        asked(PICTURE, WORDS),
        {"role": "assistant", "content": "A handbag."},
        {"role": "user", "content": "What else?"},
        {"role": "assistant", "content": "The image shows"},
    ]
    traced = lv.trace(tiny, IMAGE, turns, **OPTIONS)
    assert traced.prompt_text == (
        "USER: <image>\nDescribe the image. ASSISTANT: A handbag.</s>USER: What else? ASSISTANT: The image shows"
    )
    begun = lv.trace(
        tiny, IMAGE, [asked(PICTURE, WORDS), asked({"type": "text", "text": "The image"}, role="assistant")], **OPTIONS
    )
    whole = lv.trace(tiny, IMAGE, QUESTION, max_new_tokens=6, progress=False)
    assert whole.answer.startswith(" The image")
    assert f" The image{begun.answer}" == whole.answer


def test_many_and_captions_take_messages(tiny: Any) -> None:
    from lvlmscope.evaluation.captioning import answers

    other = scene("prior", 1).image
    messages = [asked({"type": "image", "image": other}, WORDS)]
    examples = [(IMAGE, [asked(PICTURE, WORDS)]), {"prompt": messages}, {"image": other, "prompt": QUESTION}]
    found = list(lv.trace_many(tiny, examples, batch_size=3, **OPTIONS))
    assert [each.prompt_text for each in found] == ["USER: <image>\nDescribe the image. ASSISTANT:"] * 3
    assert found[1].answer == found[2].answer
    for_all = list(lv.trace_many(tiny, [IMAGE, other], prompt=[asked(WORDS)], **OPTIONS))
    assert [each.answer for each in for_all] == [found[0].answer, found[1].answer]
    texts = answers(tiny.model, tiny.processor, [(IMAGE, QUESTION), (None, messages)], max_new_tokens=4)
    assert [text.strip() for text in texts] == [each.answer.strip() for each in found[:2]]


@pytest.mark.parametrize(
    ("image", "messages", "error", "match"),
    [
        (None, [asked(PICTURE, WORDS)], PromptError, "0 images and 1 parts without one"),
        ([IMAGE, IMAGE], [asked(PICTURE, WORDS)], PromptError, "2 images and 1 parts without one"),
        (IMAGE, [{"role": "user"}], PromptError, "a turn with the keys"),
        (IMAGE, [{"content": "a"}], PromptError, "a turn with the keys"),
        (
            IMAGE,
            [asked({"type": "video", "path": "a.mp4"})],
            PromptError,
            r"type 'video'.*pip install torchvision.*lv\.trace_inputs",
        ),
        (IMAGE, [asked({"type": "text"})], PromptError, "a part of type 'text'"),
        (IMAGE, [asked(5)], PromptError, "a part of type None"),
        (None, [{"role": "user", "content": "a"}], ImageInputError, "no image"),
        (None, [asked({"type": "image", "path": "no.png"})], ImageInputError, "No such file"),
        (IMAGE, [], PromptError, "list as prompt"),
    ],
)
def test_messages_that_cannot_be_used(tiny: Any, image: Any, messages: Any, error: Any, match: str) -> None:
    with pytest.raises(error, match=match):
        lv.trace(tiny, image, messages, **OPTIONS)


def test_messages_in_the_images_place(tiny: Any) -> None:
    with pytest.raises(PromptError, match="pass prompt=messages"):
        lv.trace(tiny, [asked(PICTURE, WORDS)], **OPTIONS)


def test_a_template_that_refuses_messages(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiny.processor, "chat_template", "{{ raise_exception('no system turns') }}")
    with pytest.raises(PromptError, match="messages that the template refuses: no system turns"):
        lv.trace(tiny, IMAGE, [asked(PICTURE, WORDS)], **OPTIONS)
    monkeypatch.setattr(tiny.processor, "chat_template", None)
    with pytest.raises(PromptError, match="which has no chat template"):
        lv.trace(tiny, IMAGE, [asked(PICTURE, WORDS)], **OPTIONS)


def test_the_template_of_a_saved_folder(tmp_path: Path) -> None:
    save_folder("qwen2_vl", tmp_path)
    model = loaded(tmp_path, "qwen2_vl")
    mark = "<|vision_start|><|image_pad|><|vision_end|>"
    for prompt, seen in [
        ("w7 w8", f"USER: {mark} w7 w8 ASSISTANT:"),
        ("w7 <|image_pad|> w8", f"USER: w7 {mark} w8 ASSISTANT:"),
        (f"w7 {mark} w8", f"USER: w7 {mark} w8 ASSISTANT:"),
        (f"SYSTEM: w9 USER: w7 {mark} w8 ASSISTANT:", f"SYSTEM: w9 USER: w7 {mark} w8 ASSISTANT:"),
    ]:
        traced = lv.trace(model, IMAGE, prompt, suppress_tokens=SUPPRESSED, **OPTIONS)
        assert traced.prompt_text == seen
        assert traced.layout.images[0].reason == ""
    turns = [{"role": "system", "content": "w9"}, asked(PICTURE, {"type": "text", "text": "w7"})]
    traced = lv.trace(model, IMAGE, turns, suppress_tokens=SUPPRESSED, **OPTIONS)
    assert traced.prompt_text == f"SYSTEM: w9 USER: {mark} w7 ASSISTANT:"


def test_a_template_with_a_begin_token_gives_one(tmp_path: Path) -> None:
    save_folder("qwen2_vl", tmp_path)
    model = loaded(tmp_path, "qwen2_vl")
    plain = prepare(IMAGE, "w7", model.processor, model.family).inputs["input_ids"]
    tokenizer = model.processor.tokenizer
    from tokenizers.processors import TemplateProcessing

    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    for template in (model.processor.chat_template, "<s>" + model.processor.chat_template):
        model.processor.chat_template = template
        one = prepare(IMAGE, "w7", model.processor, model.family)
        batch = join([one, one], model.family).inputs["input_ids"]
        for ids in (one.inputs["input_ids"][0], *batch):
            assert ids.tolist() == [1, *plain[0].tolist()]


def test_an_answer_is_joined_as_the_model_would_write_it(tiny: Any) -> None:
    written = lv.trace(tiny, IMAGE, QUESTION, **OPTIONS)
    assert written.answer.startswith(" The image")
    for answer in (written.answer, written.answer.strip()):
        given = lv.trace(tiny, IMAGE, QUESTION, answer=answer, progress=False)
        assert given.answer_ids.tolist() == written.answer_ids.tolist()
        inputs = prepare(IMAGE, QUESTION, tiny.processor, tiny.family).inputs
        (of_inputs,) = lv.trace_inputs(tiny, inputs, answer=answer, progress=False)
        assert of_inputs.answer_ids.tolist() == written.answer_ids.tolist()
    many = list(lv.trace_many(tiny, [{"image": IMAGE, "prompt": QUESTION, "answer": "The image"}], progress=False))
    assert many[0].answer == " The image"


@pytest.mark.parametrize(
    ("answer", "match"),
    [
        ([5, 100_000], "ids from 5 to 100000; expected: ids of the vocabulary, 0 to"),
        ([-100, 5], "ids from -100 to 5"),
        ([0.5, 2.0], r"torch.float32 as answer"),
        ([[5, 6], [7, 8]], r"ids of shape \[2, 2\]; expected: one answer"),
        ({"a": 1}, "dict as answer"),
        ([], "an empty answer"),
    ],
)
def test_answer_ids_that_cannot_be_used(tiny: Any, answer: Any, match: str) -> None:
    prepared, vocabulary = (
        prepare(IMAGE, QUESTION, tiny.processor, tiny.family),
        tiny.model.config.text_config.vocab_size,
    )
    with pytest.raises(PromptError, match=match):
        tokenize_answer(answer, prepared, vocabulary)


def test_ids_outside_the_vocabulary_are_refused_before_anything_runs(tiny: Any) -> None:
    with pytest.raises(PromptError, match="ids from 100000 to 100000"):
        lv.trace(tiny, IMAGE, QUESTION, answer=[100_000], progress=False)
    (failed,) = lv.trace_many(tiny, [{"image": IMAGE, "prompt": QUESTION, "answer": [100_000]}], progress=False)
    assert "ids from 100000 to 100000" in str(failed.error)


def test_answer_ids_that_hold_the_prompt(tiny: Any) -> None:
    prompt = prepare(IMAGE, QUESTION, tiny.processor, tiny.family).inputs["input_ids"][0]
    whole = torch.cat([prompt, torch.tensor([303, 315])])
    with pytest.raises(PromptError, match=rf"that begin with the prompt's {len(prompt)}; .*pass ids\[prompt_length:\]"):
        lv.trace(tiny, IMAGE, QUESTION, answer=whole, progress=False)
    traced = lv.trace(tiny, IMAGE, QUESTION, answer=whole[len(prompt) :][None], progress=False)
    assert traced.answer == " The image"


def test_a_processor_without_a_template_takes_the_prompt_as_it_is() -> None:
    from tests.support import tiny_models

    assert fill_prompt("w7 w8", tiny_models.processor(), 1) == "<image>\nw7 w8"
    assert fill_prompt("w7 <image> w8", tiny_models.processor(), 1) == "w7 <image> w8"
