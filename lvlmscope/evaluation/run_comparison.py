"""Several runs on the same items as one table."""

import os
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lvlmscope.errors import EvaluationError, message, task
from lvlmscope.evaluation.comparison import Evaluation, Row, compare_rows
from lvlmscope.evaluation.run_folder import load_run

__all__ = ["compare_runs"]


@task("compare runs")
def compare_runs(
    runs: Sequence[str | os.PathLike[str] | Evaluation], *, resamples: int = 2000, seed: int = 0
) -> Evaluation:
    """The rows of several runs, all against the first run's plain row, with intervals over the same images.

    Controls stay with their interventions. Where two runs have a row of one label and the same answers it appears once;
    where the answers differ, the later one gets its run's number behind it.

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
    rows: list[Row] = []
    for number, run in enumerate(loaded, start=1):
        rows += _new_rows(rows, run, number)
    ids: dict[str, int] = {}
    groups = np.array([ids.setdefault(item.image_id, len(ids)) for item in first.items])
    return replace(
        first,
        rows=tuple(rows),
        comparisons=tuple(compare_rows(rows, first.metric, groups, resamples=resamples, seed=seed)),
        settings={
            "model": first.settings.get("model"),
            "parser": first.settings["parser"],
            "resamples": resamples,
            "seed": seed,
            "runs": [dict(run.settings) for run in loaded],
        },
    )


def _new_rows(known: Sequence[Row], run: Evaluation, number: int) -> list[Row]:
    """The run's rows that are not known yet, under labels that are not taken."""
    renamed: dict[str, str] = {}
    found = []
    for row in run.rows:
        same = next((one for one in known if one.label == row.label), None)
        if same is not None and same.answers == row.answers:
            continue
        label = row.label if same is None else f"{row.label} (run {number})"
        renamed[row.label] = label
        role = "intervention" if row.role == "plain" and known else row.role
        control_of = renamed.get(row.control_of, row.control_of)
        found.append(replace(row, label=label, role=role, control_of=control_of))
    return found
