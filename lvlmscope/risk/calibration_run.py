"""``calibrate``: reference ranges of a model from answers about images whose objects are known."""

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sized
from itertools import chain, combinations
from typing import Any, Final, Literal

import numpy as np

from lvlmscope.attention.option_checks import require_kind
from lvlmscope.capture.trace_one import trace
from lvlmscope.errors import EvaluationError, message, task
from lvlmscope.evaluation.cross_validation import fitted_probe, strongest
from lvlmscope.evaluation.detector_table import Detector
from lvlmscope.evaluation.labelled_images import PROMPT, Example, known_images, known_vocabulary
from lvlmscope.evaluation.metrics.vocabulary import Vocabulary, require_vocabulary
from lvlmscope.evaluation.signal_detection import detect
from lvlmscope.evaluation.sweep_tables import read_manifest, sweep_words
from lvlmscope.evaluation.word_labels import LabelledWord, label_words
from lvlmscope.evaluation.word_table import WordTable, read_words
from lvlmscope.interface.parameter_checks import checked
from lvlmscope.interface.progress import bar
from lvlmscope.models.loaded_model import LoadedModel, family_for, unwrap
from lvlmscope.risk.calibration import SHARES, Calibration, Probe, Reference
from lvlmscope.sweeps.run_signature import model_fingerprint
from lvlmscope.traces.trace import Trace
from lvlmscope.traces.word_values import Tokens

__all__ = ["calibrate", "calibration_of"]

_TASK: Final = "calibrate a model"
_LEAST: Final = 20  # correct words, fewer have no 5 % quantile
_DIRECTIONS: Final[dict[str, Literal["higher", "lower", "mixed"]]] = {"higher": "higher", "lower": "lower"}


@checked
def calibrate(
    model: Any,
    examples: Iterable[Example | tuple[Any, Collection[str]]] | str | os.PathLike[str],
    *,
    words: Vocabulary | None = None,
    prompt: str = PROMPT,
    max_new_tokens: int = 48,
    tokens: Tokens = "first",
    processor: Any = None,
    lens: bool = True,
    seed: int = 0,
    progress: bool = True,
) -> Calibration:
    """Traces the model's answers about known images and keeps what its signals are like on correct words.

    Every example is traced with gradients and hidden states, greedily. Ranges are quantiles over the correct object
    words. The hallucinated ones teach the probes, which give a word's risk, which layer of a signal to look at, and on
    which side; signals that do not separate the two over held-out folds take no part in a risk. Ranges hold for the
    prompt, the kind of image and the length that they were made with.

    Args:
        model: What `load` gave, or a bare model.
        examples: Images with the categories in them: pairs, or objects with `image` and `present`; a generator too.
            Or the folder of a sweep of this model over known images, whose signals and labels are read as they are;
            the options of an answer, and `lens`, are then the sweep's.
        words: Which words stand for which category; may be left out for the bundled model alone.
        prompt: Asked about every image.
        max_new_tokens: Length allowed to each answer.
        tokens: Read at the `"first"` token of a word, or the `"mean"` over all.
        processor: The model's processor, when it cannot be found.
        lens: Also read what the image tokens spell, which runs the model once more for each example.
        seed: Of the folds.
        progress: Show a bar.

    Returns:
        The calibration; `save` writes it.

    Raises:
        EvaluationError: No examples, or too few correct or hallucinated words.
    """
    known = known_vocabulary(model, words)
    if isinstance(examples, str | os.PathLike):
        return _of_sweep(model, examples, known, tokens=tokens, seed=seed)
    pairs, total = known_images(examples), len(examples) if isinstance(examples, Sized) else None
    labels: list[tuple[LabelledWord, ...]] = []
    first: list[Trace] = []

    def traced() -> Iterator[Trace]:
        for image, present in bar(pairs, shown=progress, total=total, desc="calibrating", delay=2):
            options: dict[str, Any] = {"max_new_tokens": max_new_tokens, "do_sample": False}
            found = trace(
                model, image, prompt, processor=processor, gradients=True, hidden_states=True, progress=False, **options
            )
            labels.append(label_words(found, present, known))
            first[:] = first or [found]
            yield found

    # Labels are made as the traces pass by, so that no more than one trace is held
    table = read_words(traced(), _taken(labels), tokens=tokens, model=model if lens else None)
    about = first[0].provenance
    made_with = {
        "versions": about["versions"],
        "prompt": prompt,
        "max_new_tokens": max_new_tokens,
        "examples": len(labels),
        "seed": seed,
    }
    name = model.name if isinstance(model, LoadedModel) else str(about["model"]["name"])
    sizes = {"num_layers": first[0].num_layers, "num_heads": first[0].num_heads}
    return calibration_of(table, model=name, words=known, tokens=tokens, seed=seed, made_with=made_with, **sizes)


@checked
@task(_TASK)
def calibration_of(
    table: WordTable,
    *,
    model: str,
    num_layers: int,
    num_heads: int,
    words: Vocabulary,
    tokens: Tokens = "first",
    seed: int = 0,
    made_with: dict[str, Any] | None = None,
) -> Calibration:
    """A calibration from words that were read already.

    Args:
        table: What `read_words` gave.
        model: Name of the model.
        num_layers: Its decoder layers.
        num_heads: Its query heads.
        words: Which words stand for which category.
        tokens: Which tokens the table was read at.
        seed: Of the folds.
        made_with: Kept in the file (JSON values).

    Returns:
        The calibration.

    Raises:
        EvaluationError: Too few correct or hallucinated words, or no `Vocabulary`.
        ModelInputError: No table, or another `made_with` than a dictionary.
    """
    require_kind("table", table, WordTable, "what read_words gives")
    words = require_vocabulary(words)
    made_with = {} if made_with is None else made_with
    require_kind("made_with", made_with, Mapping, "a dictionary")
    correct = int((~table.hallucinated).sum())
    if correct < _LEAST:
        got, expected = f"{correct} correct words", f"at least {_LEAST}"
        raise EvaluationError(message(got, expected, "give more examples"))
    found = detect(table, seed=seed)
    references = {signal.name: _reference(table, signal.name, found[signal.name]) for signal in table.signals}
    return Calibration(
        model=model,
        num_layers=num_layers,
        num_heads=num_heads,
        tokens=tokens,
        grounded_words=correct,
        hallucinated_words=int(table.hallucinated.sum()),
        references=references,
        probes=_probes(table, references),
        words=words.forms,
        made_with=made_with,
    )


def _of_sweep(
    model: Any, folder: str | os.PathLike[str], words: Vocabulary, *, tokens: Tokens, seed: int
) -> Calibration:
    about = read_manifest(folder)
    swept = about["signature"]["model"]
    if swept["weights"] != model_fingerprint(model):
        got, expected = f"a sweep of {swept['name']} with other weights", "a sweep of this model"
        raise EvaluationError(message(got, expected, "sweep this one first", task=_TASK))
    config = family_for(model).text_config(unwrap(model))
    return calibration_of(
        sweep_words(folder, tokens=tokens),
        model=swept["name"],
        num_layers=len(about["layers"]),
        num_heads=int(config.num_attention_heads),
        words=words,
        tokens=tokens,
        seed=seed,
        made_with={"versions": about["versions"], **about["settings"], "examples": about["items"], "seed": seed},
    )


def _taken(labels: list[tuple[LabelledWord, ...]]) -> Iterator[tuple[LabelledWord, ...]]:
    """The labels in order; each is there by the time that its trace was taken."""
    index = 0
    while index < len(labels):
        yield labels[index]
        index += 1


def _reference(table: WordTable, name: str, detector: Detector) -> Reference:
    values = table.values[name]
    columns = [column[np.isfinite(column)] for column in values[~table.hallucinated].T]
    quantiles = [np.quantile(column, SHARES) if len(column) else np.full(len(SHARES), np.nan) for column in columns]
    best = strongest(values, table.hallucinated)
    return Reference(
        layers=table.layers[name],
        quantiles=tuple(tuple(row.tolist()) for row in quantiles),
        place=0 if best is None else best[0],
        direction=_DIRECTIONS.get(detector.direction, "mixed"),
        auroc=detector.auroc.value,
        low=detector.auroc.low,
        high=detector.auroc.high,
    )


def _probes(table: WordTable, references: dict[str, Reference]) -> tuple[Probe, ...]:
    """One probe for each combination of parts that a trace may come with, those with the same signals once."""
    telling = [signal for signal in table.signals if signal.kind != "baseline" and references[signal.name].separates]
    parts = sorted({part for signal in telling for part in signal.needs})
    subsets = chain.from_iterable(combinations(parts, size) for size in range(len(parts) + 1))
    found: dict[tuple[str, ...], Probe] = {}
    for given in subsets:
        names = tuple(signal.name for signal in telling if set(signal.needs) <= set(given))
        if names and names not in found:
            found[names] = _probe(table, references, names, given)
    return tuple(found.values())


def _probe(table: WordTable, references: dict[str, Reference], names: tuple[str, ...], needs: tuple[str, ...]) -> Probe:
    columns = np.stack([table.values[name][:, references[name].place] for name in names], axis=1)
    imputer, scaler, regression = (step for _, step in fitted_probe(columns, table.hallucinated, table.trace).steps)
    return Probe(
        needs=needs,
        signals=names,
        centre=tuple(scaler.mean_.tolist()),
        scale=tuple(scaler.scale_.tolist()),
        fill=tuple(imputer.statistics_.tolist()),
        weights=tuple(regression.coef_[0].tolist()),
        intercept=float(regression.intercept_[0]),
    )
