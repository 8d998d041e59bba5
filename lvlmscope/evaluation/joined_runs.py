"""Several runs on the same items as one table."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated

from lvlmscope.errors import EvaluationError, message, task
from lvlmscope.evaluation.comparison import Comparison, Evaluation, Row, compare_rows
from lvlmscope.evaluation.datasets.items import image_groups
from lvlmscope.evaluation.run_folder import load_run
from lvlmscope.interface.declared_types import Range
from lvlmscope.interface.parameter_checks import checked

__all__ = ["compare_runs"]


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
    loaded = [one if isinstance(one, Evaluation) else load_run(one) for one in runs]
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


def _renamed(known: Mapping[str, Row], run: Evaluation, where: str) -> list[Row]:
    """The run's rows under labels that no other answers have."""
    taken = {row.label for row in run.rows if row.label in known and known[row.label].answers != row.answers}
    labels = {row.label: f"{row.label} ({where})" if row.label in taken else row.label for row in run.rows}
    return [
        replace(row, label=labels[row.label], control_of=labels.get(row.control_of, row.control_of)) for row in run.rows
    ]
