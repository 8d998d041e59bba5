"""Wiring: each option of each public function is changed once, and the result moves.

A table holds one change for each parameter; a parameter that is in neither the table nor the list of exceptions fails.
"""

import copy
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import torch

import lvlmscope as lv
from lvlmscope.attention.entropy_threshold_rule import EntropyRule
from lvlmscope.evaluation import Vocabulary, bundled_dataset, item_answers, label_words
from lvlmscope.evaluation.captioning import Answers
from lvlmscope.evaluation.metrics.vocabulary import vocabulary as bundled_words
from lvlmscope.models.families.protocol import Family
from lvlmscope.risk import calibration_of, calibration_run
from lvlmscope.tiny import scene, scenes
from tests.support.labelled_traces import LAYERS, WORDS, labels_of, made
from tests.support.varied_traces import varied_trace, words_and_pieces

Call = Callable[[dict[str, Any]], Any]
TOKENS = 3
ANOTHER = "Is there a cat?"


@dataclass(frozen=True)
class Change:
    """One option with another value.

    Attributes:
        to: Makes the value.
        seen: What must move of a result.
        beside: Options of both calls.
    """

    to: Callable[[], Any]
    seen: Callable[[Any], Any]
    beside: dict[str, Any] = field(default_factory=dict)


# What is seen of results


def answer(trace: Any) -> Any:
    return trace.answer_ids.tolist()


def shape(trace: Any) -> Any:
    return tuple(trace.attention.shape)


def image_mass(trace: Any) -> Any:
    return trace.attention[..., trace.image_keys].sum(-1).flatten().tolist()


def image_keys(trace: Any) -> Any:
    return trace.layout.kinds.count("image")


def of_each(seen: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda traces: [seen(each) for each in traces]


def fields(*names: str) -> Callable[[Any], Any]:
    return lambda result: [getattr(result, name) for name in names]


# What calls are made with


@cache
def tiny() -> Any:
    return lv.load("tiny", check=False)


@cache
def image(number: int = 0) -> Any:
    return scene("neutral", number).image


@cache
def showing(factor: float) -> Any:
    """The bundled model's processor, which multiplies the pixels; by -1 they are the negative of the image."""
    kind = type(tiny().processor)

    class Showing(kind):  # type: ignore[misc, valid-type]
        def __call__(self, **options: Any) -> Any:
            found = super().__call__(**options)
            found["pixel_values"] = factor * found["pixel_values"]
            return found

    made = copy.copy(tiny().processor)
    made.__class__ = Showing
    return made


def negative() -> Any:
    return showing(-1.0)


@cache
def half_blind() -> Family:
    """A family for which every other image token is none."""
    kind = type(tiny().family)

    class HalfBlind(kind):  # type: ignore[misc, valid-type]
        name = "half blind"

        def image_mask(self, model: torch.nn.Module, ids: torch.Tensor) -> torch.Tensor:
            mask = super().image_mask(model, ids)
            return mask & (mask.cumsum(-1) % 2 == 0)

    made: Family = HalfBlind()
    return made


@cache
def inputs(prompt: str = "Describe the image.") -> dict[str, Any]:
    processor = tiny().processor
    told = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": prompt}]}]
    text = processor.apply_chat_template(told, add_generation_prompt=True)
    return dict(processor(images=[image()], text=[text], return_tensors="pt"))


@cache
def least_memory() -> int:
    return lv.estimate(tiny(), inputs=inputs(), max_new_tokens=TOKENS, gradients=True, layerwise=True).peak


SAMPLED = {"do_sample": True, "seed": 1, "max_new_tokens": 8}
OF_A_TRACE: dict[str, Change] = {
    "interventions": Change(lambda: [lv.LocoRE(beta=0.9)], lambda trace: [each["name"] for each in trace.effects]),
    "gradients": Change(lambda: True, lambda trace: trace.gradient is None),
    "hidden_states": Change(lambda: True, lambda trace: trace.hidden_states is None),
    "keep": Change(lambda: "image_answer", shape),
    "precision": Change(lambda: "float16", lambda trace: trace.attention.dtype),
    "max_memory": Change(
        least_memory, lambda trace: trace.provenance["replay"]["layerwise"], {"gradients": True}
    ),
    "seed": Change(lambda: 2, answer, SAMPLED),
    "family": Change(half_blind, image_keys),
    "generation": Change(lambda: {"max_new_tokens": TOKENS + 2}, answer),
}  # fmt: skip
OF_ONE = OF_A_TRACE | {
    "answer": Change(lambda: " A red dog.", answer),
    "progress": Change(lambda: True, lambda _: bar_shown()),
}


def one_trace(options: dict[str, Any]) -> Any:
    chosen = {"max_new_tokens": TOKENS, "do_sample": False, "progress": False, "image": image()} | options
    chosen = {"prompt": "Describe the image."} | without_none(chosen)
    return lv.trace(tiny(), **chosen)


def prepared_trace(options: dict[str, Any]) -> Any:
    chosen = {"max_new_tokens": TOKENS, "do_sample": False, "progress": False, "inputs": inputs()} | options
    (found,) = lv.trace_inputs(tiny().model, **without_none(chosen))
    return found


def without_none(options: dict[str, Any]) -> dict[str, Any]:
    """For a given answer no option of ``generate`` is."""
    if options.get("answer") is not None:
        options = {name: value for name, value in options.items() if name not in ("do_sample", "max_new_tokens")}
    return {name: value for name, value in options.items() if value is not None}


def many_traces(options: dict[str, Any]) -> Any:
    chosen = {"max_new_tokens": TOKENS, "do_sample": False, "progress": False, "prompt": "Describe the image."}
    chosen |= {"examples": [image(0), image(1)]} | options
    return list(lv.trace_many(tiny(), **chosen))


def estimated(options: dict[str, Any]) -> Any:
    chosen = {"max_new_tokens": TOKENS} | options
    if "inputs" not in chosen:
        chosen = {"image": image(), "prompt": "Describe the image."} | chosen
    return lv.estimate(tiny(), **chosen)


def edited(how: str, options: dict[str, Any]) -> Any:
    family, stack = options.get("family"), options.get("interventions", (lv.LocoRE(beta=0.9),))
    given = {"max_new_tokens": TOKENS, "do_sample": False, "return_dict_in_generate": True, "output_logits": True}
    if how == "intervene":
        with lv.intervene(tiny(), *stack, family=family):
            return torch.stack(tiny().model.generate(**inputs(), **given).logits).tolist()
    handle = lv.attach(tiny(), *stack, family=family)
    try:
        return torch.stack(tiny().model.generate(**inputs(), **given).logits).tolist()
    finally:
        handle.remove()


EDITS = {
    "interventions": Change(lambda: (lv.LocoRE(beta=0.2),), lambda logits: logits),
    "family": Change(half_blind, lambda logits: logits, {"interventions": (lv.DLEAF(gamma=1.0),)}),
}


# Words, signals and numbers


@cache
def words_of_two() -> tuple[list[Any], list[Any]]:
    """Traces of which each labelled word has two tokens, and labels."""
    traces, known = split_words(0), Vocabulary({"dog": ["word1"]})
    return traces, [label_words(trace, {"dog"} if n % 2 else (), known) for n, trace in enumerate(traces)]


def split_words(seed: int) -> list[Any]:
    return [words_and_pieces(trace, " word", "1", " word2", " word3") for trace in made(24, seed=seed)]


def aggregated(options: dict[str, Any]) -> Any:
    traces, labels = words_of_two()
    chosen = {"traces": traces, "signal": "image_attention_focus", "resamples": 50}
    return lv.aggregate(**(chosen | ({"labels": labels} if "word" in options.get("by", ()) else {}) | options))


def values(dataset: Any) -> Any:
    return [(name, dataset[name].values.tolist()) for name in ("mean", "low", "high")]


def scored(options: dict[str, Any]) -> Any:
    traces, labels = words_of_two()
    chosen = {"traces": traces, "labels": labels, "signals": ("log_prob", "image_attention_focus"), "resamples": 50}
    return lv.score_signals(**(chosen | options))


def scores(found: Any) -> Any:
    return [(each.name, each.auroc.value, each.auroc.low, each.auroc.high) for each in found.rows]


@cache
def seen_by_the_lens() -> tuple[list[Any], list[Any]]:
    """Traces of the bundled model, with hidden states, and labels of which every second is wrong."""
    traces = list(lv.trace_many(tiny(), [s.image for s in scenes("neutral", n=6)], prompt="Describe the image.",
                                hidden_states=True, do_sample=False, max_new_tokens=12, progress=False))  # fmt: skip
    known = bundled_words()
    named = [{mention.category for mention in known.mentions(trace.answer)} for trace in traces]
    return traces, [label_words(each, named[n] if n % 2 else (), known) for n, each in enumerate(traces)]


def with_the_model(options: dict[str, Any]) -> Any:
    traces, labels = seen_by_the_lens()
    return lv.score_signals(traces, labels, signals=None, folds=2, resamples=10, **options)


@cache
def ranges(seed: int) -> Any:
    traces = made(60, seed=seed, focus=lambda hallucinated: 0.2 + 0.1 * seed if hallucinated else 0.8)
    labels = [tuple(word for word in each if word.text == "word1") for each in labels_of(traces)]
    table = lv.evaluation.word_table.read_words(traces, labels)
    return calibration_of(table, model="planted", num_layers=LAYERS, num_heads=2, words=WORDS)


def diagnosed(options: dict[str, Any]) -> Any:
    (trace,) = made(1, seed=5)
    return lv.diagnose(**({"trace": trace, "words": WORDS} | options))


def of_the_bundled(options: dict[str, Any]) -> Any:
    return lv.diagnose(seen_by_the_lens()[0][0], **options)


def page(options: dict[str, Any], folder: Path) -> Any:
    chosen = {"trace": varied_trace(), "path": folder / "a.html"} | options
    return lv.report(**chosen).read_text()


def searched(options: dict[str, Any]) -> Any:
    generate, sizes = tiny().model.generate, []

    def counting(**given: Any) -> Any:
        sizes.append(len(given["input_ids"]))
        return generate(**given)

    chosen = {"intervention": "LocoRE", "examples": scenes("tune", n=2), "trials": 2, "max_new_tokens": 6}
    chosen |= {"max_loss": {}, "score": "recall"} | options
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiny().model, "generate", counting)
        return lv.tune(tiny(), **chosen), max(sizes)


def tried(found: Any) -> Any:
    return [each.intervention for each in found[0].trials]


def plain_scores(found: Any) -> Any:
    return found[0].plain


def evaluated(options: dict[str, Any]) -> Any:
    generate, sizes = tiny().model.generate, []

    def counting(**given: Any) -> Any:
        sizes.append(len(given["input_ids"]))
        return generate(**given)

    chosen = {"dataset": bundled_dataset("tiny-chair", n=1), "interventions": (lv.LocoRE(beta=0.9),)}
    chosen |= {"resamples": 100, "max_new_tokens": 6} | options
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiny().model, "generate", counting)
        return lv.evaluate(tiny(), **chosen), max(sizes)


def answers(found: Any) -> Any:
    return [row.answers for row in found[0].rows]


def differences(found: Any) -> Any:
    return repr(found[0].comparisons)


def calibrated(options: dict[str, Any]) -> Any:
    chosen = {"examples": known_scenes(), "max_new_tokens": 40, "lens": False, "progress": False} | options
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calibration_run, "trace", remembered)
        return lv.calibrate(tiny(), **chosen)


@cache
def known_scenes() -> tuple[Any, ...]:
    return tuple(scenes("prior", n=10)) + tuple(scenes("neutral", n=4))


_TRACED: dict[str, Any] = {}


def remembered(*given: Any, **options: Any) -> Any:
    """The same call gives the same trace: it is made once."""
    key = repr([*map(id, given), *((name, repr(options[name])) for name in sorted(options))])
    if key not in _TRACED:
        _TRACED[key] = given, lv.trace(*given, **options)  # what is named by its id must stay
    return _TRACED[key][1]


def quantiles(found: Any) -> Any:
    return [each.quantiles for each in found.references.values()]


_BARS: list[bool] = []  # whether each bar of a call was to be shown


def bar_shown() -> bool:
    return any(_BARS)


RUNS: dict[str, Call] = {
    "trace": one_trace,
    "trace_inputs": prepared_trace,
    "trace_many": many_traces,
    "estimate": estimated,
    "intervene": partial(edited, "intervene"),
    "attach": partial(edited, "attach"),
    "aggregate": aggregated,
    "score_signals": scored,
    "score_signals, with the model": with_the_model,
    "diagnose": diagnosed,
    "diagnose, with the model": of_the_bundled,
    "tune": searched,
    "evaluate": evaluated,
    "calibrate": calibrated,
}
SIGNALS_ALONE = Change(lambda: ["log_prob"], lambda found: sorted(found.signals), {"keep": "signals"})
TABLE: dict[str, dict[str, Change]] = {
    "trace": OF_ONE
    | {
        "image": Change(lambda: image(1), image_mass),
        "prompt": Change(lambda: ANOTHER, fields("prompt")),
        "processor": Change(negative, image_mass),
        "signals": SIGNALS_ALONE,
    },
    "trace_inputs": OF_ONE
    | {
        "inputs": Change(lambda: inputs(ANOTHER), shape),
        "processor": Change(lambda: tiny().processor, fields("answer")),
        "answer": Change(lambda: [9, 10], answer),
        "signals": SIGNALS_ALONE,
    },
    "trace_many": {name: replace(change, seen=of_each(change.seen)) for name, change in OF_A_TRACE.items()}
    | {
        "examples": Change(lambda: [image(2), image(3)], of_each(image_mass)),
        "batch_size": Change(lambda: 2, of_each(answer), SAMPLED),  # each batch has a seed of its own
        "prompt": Change(lambda: ANOTHER, of_each(fields("prompt"))),
        "processor": Change(negative, of_each(image_mass)),
        "progress": Change(lambda: True, lambda _: bar_shown()),
    },
    "estimate": {
        "prompt": Change(lambda: "Is there a cat or a dog, or what else is there in the image?", fields("peak")),
        "inputs": Change(lambda: inputs("What else is there to be seen in the image, if not a dog?"), fields("peak")),
        "max_new_tokens": Change(lambda: 9, fields("peak")),
        "gradients": Change(lambda: True, fields("peak")),
        "hidden_states": Change(lambda: True, fields("peak")),
        "keep": Change(lambda: "image_answer", fields("rows")),
        "precision": Change(lambda: "float16", fields("rows")),
        "layerwise": Change(lambda: True, fields("peak"), {"gradients": True}),
        "interventions": Change(lambda: (lv.VCD(),), fields("peak")),
        "family": Change(half_blind, fields("keys"), {"keep": "image_answer"}),
    },
    "intervene": EDITS,
    "attach": EDITS,
    "aggregate": {
        "traces": Change(lambda: made(24, seed=1), values),
        "signal": Change(lambda: "layer_image_entropy", values),
        "by": Change(lambda: ("head",), lambda found: found["mean"].dims),
        "labels": Change(
            lambda: [()] * 24, lambda found: found["count"].values.tolist(),
            {"by": ("word",)},
        ),
        "tokens": Change(lambda: "mean", values, {"by": ("word",)}),
        "resamples": Change(lambda: 51, values),
        "level": Change(lambda: 0.5, values),
        "seed": Change(lambda: 1, values),
    },
    "score_signals": {
        "traces": Change(lambda: split_words(1), scores),
        "labels": Change(lambda: words_of_two()[1][::-1], scores),
        "signals": Change(lambda: ("log_prob",), scores),
        "tokens": Change(lambda: "mean", scores),
        "folds": Change(lambda: 3, scores),
        "resamples": Change(lambda: 51, scores),
        "level": Change(lambda: 0.5, scores),
        "seed": Change(lambda: 1, scores),
    },
    "score_signals, with the model": {"model": Change(tiny, lambda found: [each.name for each in found.rows])},
    "diagnose": {
        "trace": Change(lambda: made(1, seed=6)[0], str),
        "calibration": Change(lambda: ranges(0), fields("calibrated")),
        "words": Change(lambda: Vocabulary({"cat": ["word2"]}), lambda found: [each.text for each in found.words]),
        "rule": Change(
            lambda: EntropyRule(threshold="max"), lambda found: repr(found.layers), {"trace": varied_trace()},
        ),
    },
    "diagnose, with the model": {"model": Change(tiny, fields("left_out"))},
    "tune": {
        "intervention": Change(lambda: "DLEAF", tried),
        "examples": Change(lambda: list(scenes("tune", n=4))[2:], plain_scores),
        "space": Change(lambda: {"beta": (0.91, 0.99)}, tried),
        "fixed": Change(lambda: {"beta": 0.123}, tried),
        "trials": Change(lambda: 3, tried),
        "score": Change(lambda: "chair_i", lambda found: found[0].score),
        "max_loss": Change(lambda: {"chair_i": 0.5}, lambda found: found[0].max_loss),
        "prompt": Change(lambda: "What is in the picture?", plain_scores, {"max_new_tokens": 12}),
        "words": Change(lambda: Vocabulary({"dog": ["image"]}), plain_scores, {"examples": [(image(0), {"dog"})] * 2}),
        "max_new_tokens": Change(lambda: 16, plain_scores),
        "batch_size": Change(lambda: 1, lambda found: found[1]),
        "seed": Change(lambda: 1, tried),
        "processor": Change(negative, plain_scores, {"max_new_tokens": 16}),
    },
    "evaluate": {
        "dataset": Change(lambda: bundled_dataset("tiny-chair", n=2), answers),
        "interventions": Change(lambda: (lv.DLEAF(),), lambda found: found[0].labels),
        "metric": Change(lambda: "mme", lambda found: found[0].metric, {"dataset": bundled_dataset("tiny-pope", n=1)}),
        "placebo": Change(lambda: True, lambda found: found[0].labels),
        "prompt": Change(lambda: "What is in the picture?", answers, {"max_new_tokens": 12}),
        "batch_size": Change(lambda: 1, lambda found: found[1]),
        "max_new_tokens": Change(lambda: 9, answers),
        "resamples": Change(lambda: 1000, differences, {"dataset": bundled_dataset("tiny-chair", n=2)}),
        "seed": Change(lambda: 1, differences),
        "processor": Change(negative, answers, {"max_new_tokens": 12}),
    },
    "calibrate": {
        "examples": Change(lambda: known_scenes()[1:], quantiles),
        "words": Change(
            lambda: Vocabulary({**bundled_words().forms, "image": ["image"]}), fields("hallucinated_words"),
        ),
        "prompt": Change(lambda: "What is in the picture?", quantiles),
        "max_new_tokens": Change(lambda: 24, quantiles),
        "tokens": Change(lambda: "mean", fields("tokens")),
        "processor": Change(lambda: showing(0.8), quantiles),
        "lens": Change(lambda: True, lambda found: sorted(found.references)),
        "seed": Change(lambda: 1, lambda found: [each.low for each in found.references.values()]),
        "progress": Change(lambda: True, lambda _: bar_shown()),
    },
}  # fmt: skip
PAGES: dict[str, Change] = {
    "trace": Change(lambda: varied_trace(seed=1), str),
    "compare": Change(lambda: varied_trace(seed=1), str),
    "title": Change(lambda: "Another", str),
    "hallucinated": Change(lambda: ["word1"], str),
    "grounded": Change(lambda: ["word1"], str),
    "diagnosis": Change(lambda: False, str),
}
# Everything else has a test of its own beside it
SAME_RESULTS = "faster, and the same up to rounding: tests/runtime/test_compiled_edits.py"
ELSEWHERE: dict[str, dict[str, str]] = {
    "intervene": {"compile": SAME_RESULTS},
    "attach": {"compile": SAME_RESULTS},
    "diagnose": {"cut_image": "tests/risk/test_cut_words.py"},
    "report": {
        "path": "the file that is read",
        "model": "tests/explorer/test_trace_json.py",
        "maps": "tests/explorer/test_given_maps.py",
    },
    "evaluate": {"out": "tests/evaluation/test_evaluate.py reads the folder", "parser": "below"},
    "tune": {"progress": "tests/evaluation/test_tuning.py counts its calls", "parser": "below"},
    "estimate": {
        "image": "every image is as many tokens for the bundled model: tests/capture/test_memory_limit.py has others",
        "processor": "likewise",
    },
}
SUBJECT = "model"  # what the call is about


@pytest.fixture(autouse=True)
def bars(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bars note whether they are shown."""
    from lvlmscope.interface import progress

    def noting(*shown: bool) -> bool:
        _BARS.extend(shown)
        return False

    monkeypatch.setattr(progress, "bars_shown", noting)


CASES = [
    pytest.param(function, name, id=f"{function}-{name}", marks=[pytest.mark.slow] if function == "calibrate" else [])
    for function, changes in TABLE.items()
    for name in changes
]


@pytest.mark.slow
@pytest.mark.met
@pytest.mark.filterwarnings("ignore:.* changed nothing in")
@pytest.mark.parametrize(("function", "name"), CASES)
def test_a_changed_option_moves_the_result(function: str, name: str) -> None:
    change, run = TABLE[function][name], RUNS[function]
    to = change.to()

    def seen(options: dict[str, Any]) -> str:
        _BARS.clear()
        return repr(change.seen(run(options)))

    before = seen(change.beside)
    assert seen(change.beside | (to if name == "generation" else {name: to})) != before
    if name == "seed":
        assert seen(change.beside) == before


def test_the_parser_reads_the_answers_of_evaluate_and_tune(monkeypatch: pytest.MonkeyPatch) -> None:
    def told(_: Any, __: Any, pairs: Any, **___: Any) -> Any:
        count = len(pairs)
        return Answers(texts=("There isn't any.",) * count, tokens=(4,) * count, cut=(False,) * count, seconds=1.0)

    monkeypatch.setattr(item_answers, "timed_answers", told)
    data, rates = bundled_dataset("tiny-pope", n=1), []
    for parser in ("strict", "official"):
        rates.append(lv.evaluate(tiny(), data, parser=parser, resamples=100).scores["plain"]["yes_rate"])
        with pytest.warns(UserWarning, match="changed nothing"):
            rates.append(lv.tune(tiny(), "DLEAF", data, trials=1, parser=parser).plain["yes_rate"])
    assert rates == [0.0, 0.0, 1.0, 1.0]


@pytest.mark.parametrize("name", PAGES)
def test_a_changed_option_of_a_report_moves_the_page(name: str, tmp_path: Path) -> None:
    assert page({}, tmp_path) != page({name: PAGES[name].to()}, tmp_path)
    assert page({}, tmp_path) == page({}, tmp_path)


@pytest.mark.parametrize("function", sorted({name.partition(",")[0] for name in TABLE} | {"report"}))
def test_every_option_is_changed_once(function: str) -> None:
    tables = [changes for name, changes in TABLE.items() if name.partition(",")[0] == function]
    here = set().union(*tables, PAGES if function == "report" else ())
    declared = set(inspect.signature(getattr(lv, function)).parameters) - {SUBJECT}
    elsewhere = ELSEWHERE.get(function, {})
    assert declared == (here | set(elsewhere)) - {SUBJECT}
    assert not here & set(elsewhere)
