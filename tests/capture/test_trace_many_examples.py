"""trace_many: in order, batched, with failures as records."""

import weakref
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import lvlmscope as lv
from lvlmscope.capture.trace_many_examples import FailedExample
from lvlmscope.diagnostics import planted_trace
from lvlmscope.errors import ImageInputError, InterventionError, ModelInputError, PromptError, UnsupportedOptionError
from lvlmscope.tiny.composed_scenes import scenes
from lvlmscope.traces.trace import Trace
from tests.support import tiny_models

OPTIONS: dict[str, Any] = {"max_new_tokens": 5, "do_sample": False, "progress": False}
PROMPTS = ("Describe the image.", "Is there a cat?", "Describe the image.", "What is in the picture?")


@pytest.fixture(scope="module")
def model() -> Any:
    return lv.load("tiny")


@pytest.fixture(scope="module")
def images() -> list[Image.Image]:
    return [one.image for one in scenes("neutral", n=4, seed=3)]


def test_batches_give_what_each_example_gives_alone(model: Any, images: list[Image.Image]) -> None:
    pairs = list(zip(images, PROMPTS, strict=True))
    many = list(lv.trace_many(model, iter(pairs), batch_size=3, gradients=True, **OPTIONS))
    assert len(many) == 4
    for (image, prompt), traced in zip(pairs, many, strict=True):
        assert isinstance(traced, Trace)
        alone = lv.trace(model, image, prompt, gradients=True, **OPTIONS)
        assert isinstance(alone, Trace)
        assert traced.answer == alone.answer
        assert traced.prompt == prompt
        assert traced.layout == alone.layout
        assert traced.image is not None
        assert traced.image.size == image.size
        torch.testing.assert_close(traced.attention, alone.attention, atol=1e-5, rtol=1e-4)
        assert traced.gradient is not None
        assert alone.gradient is not None
        torch.testing.assert_close(traced.gradient, alone.gradient, atol=1e-4, rtol=1e-3)


def test_failures_are_records_in_their_place(model: Any, images: list[Image.Image], tmp_path: Path) -> None:
    examples = [images[0], tmp_path / "missing.png", (images[1], " "), {"prompt": "?"}, images[2]]
    found = list(lv.trace_many(model, examples, batch_size=2, prompt=PROMPTS[0], **OPTIONS))
    assert [type(one).__name__ for one in found] == ["Trace", *["FailedExample"] * 3, "Trace"]
    failed = [one for one in found if isinstance(one, FailedExample)]
    assert [one.index for one in failed] == [1, 2, 3]
    assert [type(one.error) for one in failed] == [ImageInputError, PromptError, ModelInputError]
    assert "example 1: ImageInputError" in str(failed[0])


def test_a_failure_lets_go_of_what_its_batch_held(model: Any, images: list[Image.Image]) -> None:
    held: list[weakref.ref[torch.Tensor]] = []

    def run_out(*_: Any) -> None:
        logits = torch.zeros(8)
        held.append(weakref.ref(logits))
        raise torch.OutOfMemoryError("no room")

    hook = model.model.register_forward_pre_hook(run_out)
    try:
        found = list(lv.trace_many(model, images[:2], batch_size=2, prompt=PROMPTS[0], **OPTIONS))
    finally:
        hook.remove()
    assert [str(one) for one in found] == [f"example {n}: OutOfMemoryError: no room" for n in range(2)]
    assert len(held) == 3  # together, then each alone
    assert all(one() is None for one in held)


def test_an_error_inside_a_batch_stays_with_its_example(
    model: Any, images: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    original = model.model.generate

    def generate(**options: Any) -> Any:
        if (options["pixel_values"].sum((1, 2, 3)) == 0).any():
            raise RuntimeError("no such kernel for black")
        return original(**options)

    class Blind:
        """The processor, which makes one image black."""

        def __init__(self) -> None:
            self.__dict__.update(vars(model.processor))

        def __getattr__(self, name: str) -> Any:
            return getattr(model.processor, name)

        def __call__(self, **options: Any) -> Any:
            made = model.processor(**options)
            for number, image in enumerate(options["images"]):
                one = image[0] if isinstance(image, list) else image
                if one.getpixel((0, 0)) == (1, 2, 3):
                    made["pixel_values"][number] = 0
            return made

    monkeypatch.setattr(model.model, "generate", generate)
    black = Image.new("RGB", (112, 112), (1, 2, 3))
    examples = [images[0], black, images[1]]
    found = list(lv.trace_many(model, examples, batch_size=3, prompt=PROMPTS[0], processor=Blind(), **OPTIONS))
    assert [isinstance(one, Trace) for one in found] == [True, False, True]
    assert isinstance(found[1], FailedExample)
    assert "no such kernel" in str(found[1])


def test_answers_given_in_advance_and_interventions(model: Any, images: list[Image.Image]) -> None:
    examples = [{"image": images[0], "answer": "A cat."}, {"image": images[1]}]
    before = tiny_models.footprint(model.model)
    options = OPTIONS | {"interventions": [lv.DLEAF(gamma=0.5)], "prompt": PROMPTS[0], "batch_size": 2}
    found = list(lv.trace_many(model, examples, **options))
    assert isinstance(found[0], Trace)
    assert isinstance(found[1], Trace)
    assert found[0].answer.strip() == "A cat."
    assert found[1].effects[0]["name"] == "DLEAF"
    assert tiny_models.footprint(model.model) == before


def test_nothing_stays_attached_between_two_results(model: Any, images: list[Image.Image]) -> None:
    options = OPTIONS | {"prompt": PROMPTS[0]}
    plain = [lv.trace(model, image, **options) for image in images]
    interventions = [lv.HeadRescaling(tau_perc=0.01, tau_reas=0.005, g_perc=2.0), lv.DLEAF(gamma=0.5)]
    edited = [lv.trace(model, image, interventions=interventions, **options) for image in images]
    assert not all(torch.equal(a.log_probs, b.log_probs) for a, b in zip(plain, edited, strict=True))
    untouched = tiny_models.footprint(model.model)
    pairs = zip(
        lv.trace_many(model, images, **options),
        lv.trace_many(model, images, interventions=interventions, **options),
        strict=True,
    )
    for number, (before, after) in enumerate(pairs):
        assert isinstance(before, Trace)
        assert isinstance(after, Trace)
        assert lv.attached(model) == ()
        assert tiny_models.footprint(model.model) == untouched
        assert before.effects == ()
        assert torch.equal(before.log_probs, plain[number].log_probs)
        assert torch.equal(after.log_probs, edited[number].log_probs)


def test_an_intervention_that_changes_nothing_in_any_example_warns_once(model: Any, images: list[Image.Image]) -> None:
    options = OPTIONS | {"prompt": PROMPTS[0], "interventions": [Faulty(None, at=0)]}
    with pytest.warns(UserWarning, match=r"Faulty changed nothing in any example; in the last one: at is 0\.") as told:
        list(lv.trace_many(model, images, **options))
    assert len(told) == 1


@dataclass(frozen=True)
class Faulty:
    """Breaks on the images whose number of visits is given."""

    error: Any
    at: int
    seen: list[int] = field(default_factory=list, compare=False)

    def start(self, model_info: lv.ModelInfo) -> lv.Session:
        del model_info
        return _FaultySession(self)

    def describe(self) -> dict[str, Any]:
        return {"name": "Faulty"}


class _FaultySession(lv.Session):
    def __init__(self, config: Faulty) -> None:
        self.config = config

    def begin_generate(self, options: Any) -> None:
        del options
        self.config.seen.append(1)

    def no_effect_reason(self) -> str | None:
        return f"at is {self.config.at}"

    def edit_attention(self, rows: lv.AttentionRows) -> torch.Tensor | None:
        if not self.config.at:
            return None
        if len(self.config.seen) == self.config.at:
            if self.config.error is None:
                return rows.weights * float("nan")
            raise self.config.error
        return rows.weights.roll(1, -2)


class OddError(Exception):
    """No kind of error that a library would raise."""


@pytest.mark.parametrize(
    ("error", "kind"), [(OddError("strange"), OddError), (ZeroDivisionError("0"), ZeroDivisionError)]
)
def test_whatever_an_example_raises_is_its_record(
    model: Any, images: list[Image.Image], error: Exception, kind: type[Exception]
) -> None:
    options = OPTIONS | {"prompt": PROMPTS[0], "interventions": [Faulty(error, at=1)]}
    first, *rest = lv.trace_many(model, images, **options)
    assert isinstance(first, FailedExample)
    assert type(first.error) is kind
    assert first.error.__notes__ == ["raised by the intervention Faulty, in edit_attention"]
    assert all(isinstance(one, Trace) for one in rest)


def test_a_wrong_edit_is_the_calls_fault_at_first_and_an_examples_later(model: Any, images: list[Image.Image]) -> None:
    options = OPTIONS | {"prompt": PROMPTS[0]}
    with pytest.raises(InterventionError, match="edit attention with Faulty: got NaN"):
        list(lv.trace_many(model, images, interventions=[Faulty(None, at=1)], **options))
    found = list(lv.trace_many(model, images, interventions=[Faulty(None, at=3)], **options))
    assert [isinstance(one, Trace) for one in found] == [True, True, False, True]
    assert "Faulty" in str(found[2])
    with pytest.raises(KeyboardInterrupt):
        list(lv.trace_many(model, images, interventions=[Faulty(KeyboardInterrupt(), at=3)], **options))
    assert lv.attached(model) == ()


def test_examples_of_any_kind_that_come_later_end_nothing(model: Any, images: list[Image.Image]) -> None:
    class Broken:
        def __getattr__(self, name: str) -> Any:
            raise OddError(name)

    examples = [
        images[0],
        {"no": "image"},
        Broken(),
        (images[1], ""),
        None,
        object(),
        {"image": images[1], "answer": 3.5},
    ]
    found = list(
        lv.trace_many(
            model,
            iter(examples),
            batch_size=3,
            prompt=PROMPTS[0],
            **OPTIONS,
        )
    )
    assert [isinstance(one, Trace) for one in found] == [True] + [False] * 6
    late = iter([(images[0], "What?"), images[1]])
    first, second = lv.trace_many(model, late, **OPTIONS)
    assert isinstance(first, Trace)
    assert isinstance(second, FailedExample)
    assert "example 1 without a prompt" in str(second)


def test_sampling_repeats_with_its_seed(model: Any, images: list[Image.Image]) -> None:
    options = OPTIONS | {"do_sample": True, "temperature": 2.0, "seed": 5, "prompt": PROMPTS[0], "batch_size": 2}
    first, second = (list(lv.trace_many(model, images, **options)) for _ in range(2))
    assert [one.answer for one in first if isinstance(one, Trace)] == [
        one.answer for one in second if isinstance(one, Trace)
    ]


def test_a_call_that_cannot_work_is_refused_at_once(model: Any, images: list[Image.Image]) -> None:
    with pytest.raises(UnsupportedOptionError, match="num_return_sequences"):
        list(lv.trace_many(model, images, prompt=PROMPTS[0], num_return_sequences=2, **OPTIONS))
    with pytest.raises(ModelInputError, match="batch_size=0"):
        lv.trace_many(model, images, prompt=PROMPTS[0], batch_size=0, **OPTIONS)
    with pytest.raises(PromptError, match=r"example 1 without a prompt; .*; pass prompt="):
        lv.trace_many(model, [(images[0], "What?"), images[1]], **OPTIONS)
    with pytest.raises(PromptError, match="example 0 without a prompt"):
        list(lv.trace_many(model, iter([{"image": images[0]}]), **OPTIONS))
    for one in ("mine.png", {"image": images[0]}):
        with pytest.raises(ModelInputError, match=r"a list of examples.*put a single example into a list"):
            lv.trace_many(model, one, prompt=PROMPTS[0], **OPTIONS)
    with pytest.raises(UnsupportedOptionError, match="max_new_tokens=0; expected: 1 token or more"):
        list(lv.trace_many(model, images, prompt=PROMPTS[0], **OPTIONS | {"max_new_tokens": 0}))


@pytest.mark.usefixtures("unchecked_shapes")
def test_failures_among_traces_are_named_and_paths_are_no_traces(tmp_path: Path) -> None:
    one = planted_trace()
    failed = [FailedExample(index=n, example="x", error=ImageInputError(f"no image {n}")) for n in range(1, 6)]
    told = r"5 of 6 that failed \(example 1: ImageInputError: no image 1; .* 3; \.\.\.\); .*isinstance\(t, lv\.Trace\)"
    words: Any = [()] * 6
    for call in (
        lambda: lv.aggregate([one, *failed], "image_attention_focus"),
        lambda: lv.score_signals([one, *failed], words),
    ):
        with pytest.raises(ModelInputError, match=told):
            call()
    with pytest.raises(ModelInputError, match="one that failed"):
        lv.aggregate(iter(failed), "image_attention_focus")
    path: Any = "a.safetensors"
    for call in (
        lambda: lv.effect(path, one),
        lambda: lv.diagnose(path),
        lambda: lv.report(path, tmp_path / "x.html"),
        lambda: lv.report(one, tmp_path / "x.html", compare=path),
        lambda: lv.plot.overlay(path, "word1"),
        lambda: lv.plot.timeline(path),
        lambda: lv.evaluation.label_words(path, (), lv.evaluation.vocabulary()),
    ):
        with pytest.raises(ModelInputError, match=r"got the text 'a\.safetensors'.*lv\.load_trace\('a\.safetensors'\)"):
            call()
    with pytest.raises(ModelInputError, match="got int; expected: a trace"):
        lv.effect(one, 3)  # type: ignore[arg-type]
