"""`evaluate`: a model on a data set, with and without interventions and with the controls that tell what they do."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Annotated, Any, Final

from lvlmscope.attention.option_checks import require_kind
from lvlmscope.errors import EvaluationError, message, task
from lvlmscope.evaluation.captioning import Answers
from lvlmscope.evaluation.comparison import Evaluation, Role, Row, compare_rows
from lvlmscope.evaluation.datasets import Dataset
from lvlmscope.evaluation.datasets.bundled import require_dataset
from lvlmscope.evaluation.datasets.items import Metric, half_a_character
from lvlmscope.evaluation.intervention_labels import Stack, labelled_stacks
from lvlmscope.evaluation.item_answers import answer_items, require_turns
from lvlmscope.evaluation.item_counts import caption_vocabulary, count_answers, described
from lvlmscope.evaluation.item_prompts import prompt_of
from lvlmscope.evaluation.labelled_images import PROMPT
from lvlmscope.evaluation.length_control import cut_to_mentions
from lvlmscope.evaluation.metrics.yes_no import Parser
from lvlmscope.evaluation.run_folder import save_run, writable_folder
from lvlmscope.evaluation.run_settings import describe_model, versions
from lvlmscope.interface.declared_types import Range
from lvlmscope.interface.parameter_checks import checked
from lvlmscope.interventions.placebo import Placebo
from lvlmscope.models.loaded_model import find_processor, unwrap, with_processor
from lvlmscope.runtime.attachment import intervene
from lvlmscope.runtime.protocol import Intervention

__all__ = ["evaluate", "score_answers"]

PLAIN: Final = "plain"
Resamples = Annotated[int, Range(ge=100)]
Seed = Annotated[int, Range(ge=0)]


@checked
@task("evaluate a model")
def evaluate(
    model: Any,
    dataset: Dataset | str,
    interventions: Intervention | Sequence[Intervention | Sequence[Intervention]] | Mapping[str, Any] = (),
    *,
    metric: Metric | None = None,
    parser: Parser = "strict",
    placebo: bool = False,
    prompt: str | None = None,
    batch_size: Annotated[int, Range(ge=1)] = 8,
    max_new_tokens: Annotated[int, Range(ge=1)] | None = None,
    resamples: Resamples = 2000,
    seed: Seed = 0,
    processor: Any = None,
    out: str | os.PathLike[str] | None = None,
) -> Evaluation:
    """Greedy answers to every item, plain and under each intervention, scored on the same items in the same order.

    Every difference comes with the interval of a paired bootstrap over images, yes/no answers with McNemar's test.
    Beside each intervention that is evaluated on descriptions stands the row "plain, cut to the same number of
    mentions": what is left beyond it is not the effect of naming fewer objects. With `placebo` there is also a row with
    edits as large as the intervention's own at random places.

    Args:
        model: What `load` gave, or a bare model.
        dataset: What one of the readers of `lvlmscope.evaluation.datasets` gave, or `"tiny-chair"` or `"tiny-pope"`.
        interventions: Each on its own; a list within the list is a stack of interventions that act in order. As a
            mapping, the keys are the rows' labels.
        metric: How answers are scored; the data set's own metric when None.
        parser: How a yes or a no is read from an answer; `"official"` for figures that are compared with published
            ones.
        placebo: Also run the placebo of each intervention.
        prompt: For descriptions without a question of their own what is asked, "Describe the image." when None. For
            items with a question a template that holds `{question}`.
        batch_size: Items in one `generate`.
        max_new_tokens: Length allowed to each answer, the same for all rows; the data set's own when None.
        resamples: Draws of the bootstrap.
        seed: Of the bootstrap and of the placebo's edits.
        processor: The model's processor, when `load` did not give one.
        out: Folder for the answers, scores and tables; nothing is written when None.

    Returns:
        Rows, differences and settings.

    Raises:
        EvaluationError: No data set, items that the metric cannot score, or labels that are not unique.
        ModelInputError: An option of another type, out of range, or not among the choices.
        ImageInputError: An image is missing or does not open; found before the model runs, with file and row.
        InterventionError: Something that is no intervention, or one without a placebo.
        OutputError: The folder cannot be written to; found before the model runs.
    """
    data, stacks = require_dataset(dataset), labelled_stacks(interventions, reserved=PLAIN)
    chosen: Metric = metric or data.metric
    count_answers(data, chosen, [""] * len(data), parser)  # refuses what cannot be scored before anything runs
    shams = _placebos(stacks, seed) if placebo else {}
    require_turns(data)
    for item in data.items:
        prompt_of(item, prompt)  # refuses a template that lacks the question
    with nullcontext() if out is None else writable_folder(out):
        data.check_images()
        bare: Any = unwrap(model)
        reader = find_processor(model, processor)
        length = data.max_new_tokens if max_new_tokens is None else max_new_tokens
        options: dict[str, Any] = {"max_new_tokens": length, "batch_size": batch_size}
        found = answer_items(bare, reader, data, prompt, description=PLAIN, **options)
        rows = [_row(data, chosen, parser, PLAIN, found)]
        for label, stack, control_of in _in_turn(stacks, shams):
            with intervene(with_processor(model, reader), *stack) as handle:
                found = answer_items(bare, reader, data, prompt, description=label, **options)
            row = replace(_row(data, chosen, parser, label, found), control_of=control_of, edits=handle.report())
            descriptions = tuple(one.describe() for one in stack)
            role: Role = "placebo" if control_of else "intervention"
            rows.append(replace(row, role=role, interventions=descriptions))
        settings = {"model": describe_model(model), "prompt": prompt or PROMPT, **options}
        return _evaluated(data, chosen, rows, settings | {"parser": parser, "resamples": resamples, "seed": seed}, out)


@checked
@task("score answers")
def score_answers(
    dataset: Dataset | str,
    answers: Mapping[str, Sequence[str]],
    *,
    metric: Metric | None = None,
    parser: Parser = "strict",
    resamples: Resamples = 2000,
    seed: Seed = 0,
    out: str | os.PathLike[str] | None = None,
) -> Evaluation:
    """Scores answers that exist already, without a model; the first ones are what the others are compared with.

    Args:
        dataset: The items; images are not needed.
        answers: By label, one text for each item in order (`read_answers` matches a file's by their ids).
        metric: As in `evaluate`.
        parser: As in `evaluate`.
        resamples: As in `evaluate`.
        seed: As in `evaluate`.
        out: As in `evaluate`.

    Returns:
        Rows, differences and settings, with the row "plain, cut to the same number of mentions" for each further one.

    Raises:
        EvaluationError: No answers, another number of answers than of items, or items that the metric cannot score.
        OutputError: The folder cannot be written to.
    """
    data = require_dataset(dataset)
    require_kind("answers", answers, Mapping, "a dictionary of a label's texts")
    if not answers:
        raise EvaluationError(message("no answers", "a list of texts by label", "pass {'plain': [...]}"))
    for label, texts in answers.items():
        each: tuple[object, ...] = (label, *texts)
        wrong = [text for text in each if not isinstance(text, str) or half_a_character(text)]
        if wrong:
            got, fix = f"{wrong[0]!r:.80} among labels and answers", "pass {'plain': ['An answer.', ...]}"
            raise EvaluationError(message(got, "Unicode texts", fix))
    chosen: Metric = metric or data.metric
    with nullcontext() if out is None else writable_folder(out):
        rows = [
            Row(
                label=label,
                role="intervention" if number else "plain",
                answers=tuple(texts),
                counts=count_answers(data, chosen, texts, parser),
            )
            for number, (label, texts) in enumerate(answers.items())
        ]
        settings = {"model": None, "parser": parser, "resamples": resamples, "seed": seed}
        return _evaluated(data, chosen, rows, settings, out)


def _placebos(stacks: Mapping[str, Stack], seed: int) -> dict[str, Stack]:
    for label in stacks:
        if f"placebo of {label}" in stacks:
            got = f"the label 'placebo of {label}' with placebo=True"
            raise EvaluationError(message(got, "labels that differ", "leave one of the two out"))
    return {label: tuple(Placebo(intervention=one, seed=seed) for one in stack) for label, stack in stacks.items()}


def _in_turn(stacks: Mapping[str, Stack], shams: Mapping[str, Stack]) -> Iterator[tuple[str, Stack, str]]:
    """Label, stack and what it is the control of: each stack, then its placebo."""
    for label, stack in stacks.items():
        yield label, stack, ""
        if label in shams:
            yield f"placebo of {label}", shams[label], label


def _row(data: Dataset, metric: Metric, parser: Parser, label: str, found: Answers) -> Row:
    return Row(
        label=label,
        role="plain",
        answers=found.texts,
        counts=count_answers(data, metric, found.texts, parser),
        tokens=found.tokens,
        cut=found.cut,
        seconds=found.seconds,
    )


def _evaluated(
    data: Dataset, metric: Metric, rows: Sequence[Row], settings: Mapping[str, Any], out: str | os.PathLike[str] | None
) -> Evaluation:
    """The rows with their length-matched controls and all differences; written where asked."""
    parser: Parser = settings["parser"]
    complete = [each for row in rows for each in (row, *_length_matched(data, metric, rows[0], row, parser))]
    draws = {"resamples": settings["resamples"], "seed": settings["seed"]}
    result = Evaluation(
        name=data.name,
        metric=metric,
        fingerprint=data.fingerprint,
        items=data.items,
        rows=tuple(complete),
        comparisons=tuple(compare_rows(complete, metric, data.image_groups, **draws)),
        settings={**settings, "data": dict(data.source), "versions": versions()},
    )
    if out is not None:
        save_run(result, out)
    return result


def _length_matched(data: Dataset, metric: Metric, plain: Row, row: Row, parser: Parser) -> list[Row]:
    """The plain captions cut to the row's own number of mentions; none for yes/no questions and other rows."""
    if row.role != "intervention" or not any(map(described, data.items)):
        return []
    words = caption_vocabulary(data)
    texts = [
        cut_to_mentions([text], [count], words)[0] if described(item) else text
        for item, text, count in zip(data.items, plain.answers, row.counts["named"].tolist(), strict=True)
    ]
    label = f"{plain.label}, cut to the mentions of {row.label}"
    counts = count_answers(data, metric, texts, parser)
    return [Row(label=label, role="length_matched", control_of=row.label, answers=tuple(texts), counts=counts)]
