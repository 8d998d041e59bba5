"""Several runs on the same items as one table."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Final

from lvlmscope.attention.option_checks import each_of
from lvlmscope.errors import EvaluationError, message, task
from lvlmscope.evaluation.comparison import Comparison, Evaluation, Row, compare_rows
from lvlmscope.evaluation.datasets.items import Item, image_groups
from lvlmscope.evaluation.run_folder import load_run
from lvlmscope.interface.declared_types import Range
from lvlmscope.interface.parameter_checks import checked

__all__ = ["compare_runs"]

_COMPARED: Final = {
    "question": "the questions",
    "label": "the right answers",
    "objects": "the objects that count as present",
    "expected": "the objects annotated as wrongly expected",
    "image_id": "the images",
    "kind": "the kinds",
}


@checked
@task("compare runs")
def compare_runs(
    runs: Sequence[str | os.PathLike[str] | Evaluation],
    *,
    resamples: Annotated[int, Range(ge=100)] = 2000,
    seed: Annotated[int, Range(ge=0)] = 0,
) -> Evaluation:
    """The rows of several runs, each against its own run's plain row, and the plain rows against the first one.

    Controls stay with their interventions. Where two runs have a row of one label and the same answers it appears once;
    where the answers differ, the later one gets its run's number behind it, and the data set's name where that is
    another one (the same items with disturbed images).

    Args:
        runs: Folders that `lvlmscope eval --out` wrote, or evaluations; two or more.
        resamples: Draws of the bootstrap.
        seed: Of the draws.

    Returns:
        One evaluation with all rows.

    Raises:
        EvaluationError: Fewer than two runs, a folder that holds none, or runs of other items, of another metric or
            parser.
    """
    given = each_of("runs", runs, "folders or evaluations")
    loaded = [one if isinstance(one, Evaluation) else load_run(one) for one in given]
    if len(loaded) < 2:
        raise EvaluationError(message(f"{len(loaded)} runs", "two or more", "name their folders"))
    first = loaded[0]
    for number, other in enumerate(loaded[1:], start=2):
        for what, mine, its in (
            ("items", first.fingerprint, other.fingerprint),
            ("metric", first.metric, other.metric),
            ("parser", first.settings["parser"], other.settings["parser"]),
        ):
            if mine != its:
                got = f"run {number} ({other.name}) with other {what} than run 1 ({first.name})"
                got += f": {_item_differences(first, other, number)}" if what == "items" else f": {its} and {mine}"
                raise EvaluationError(message(got, "runs on the same items, scored alike", "compare these apart"))
    groups = image_groups(first.items)
    rows: dict[str, Row] = {}
    comparisons: dict[tuple[str, str], Comparison] = {}
    for number, run in enumerate(loaded, start=1):
        where = f"run {number}" if run.name == first.name else f"run {number}, {run.name}"
        own = _renamed(rows, run, where)
        rows |= {row.label: row for row in own}
        plain = [loaded[0].rows[0], replace(own[0], role="intervention")]
        for listed in (own, plain if own[0].label != plain[0].label else []):
            found = compare_rows(listed, first.metric, groups, resamples=resamples, seed=seed) if listed else []
            comparisons |= {(one.row, one.against): one for one in found}
    return replace(
        first,
        rows=tuple(rows.values()),
        comparisons=tuple(comparisons.values()),
        settings={
            "model": first.settings.get("model"),
            "parser": first.settings["parser"],
            "resamples": resamples,
            "seed": seed,
            "runs": [dict(run.settings) for run in loaded],
        },
    )


def _item_differences(first: Evaluation, other: Evaluation, number: int) -> str:
    """In what the items of two runs differ, and the options that their data sets were read with."""
    known = {item.id: item for item in first.items}
    missing = [item.id for item in other.items if item.id not in known]
    if missing or len(known) != len(other.items):
        shared = len(other.items) - len(missing)
        parts = [f"{shared} of run 1's {len(known)} and run {number}'s {len(other.items)} ids are in both"]
    else:
        parts = []
        for name, called in _COMPARED.items():
            differing = [one.id for one in other.items if _held(one, name) != _held(known[one.id], name)]
            if differing:
                parts.append(f"{called} of {len(differing)} of {len(known)} items differ, as of item {differing[0]!r}")
    parts = parts or ["the same in another order"]
    mine, its = (dict(run.settings.get("data") or {}) for run in (first, other))
    options = [name for name in sorted({*mine, *its}) if mine.get(name) != its.get(name)]
    read = [f"{name}={its.get(name)!r} instead of {mine.get(name)!r}" for name in options]
    return "; ".join([*parts, *([f"read with {', '.join(read)}"] if read else [])])


def _held(item: Item, name: str) -> Any:
    value = getattr(item, name)
    return sorted(value or ()) if name in {"objects", "expected"} else value


def _renamed(known: Mapping[str, Row], run: Evaluation, where: str) -> list[Row]:
    """The run's rows under labels that no other answers have."""
    taken = {row.label for row in run.rows if row.label in known and known[row.label].answers != row.answers}
    labels = {row.label: f"{row.label} ({where})" if row.label in taken else row.label for row in run.rows}
    return [
        replace(row, label=labels[row.label], control_of=labels.get(row.control_of, row.control_of)) for row in run.rows
    ]
