"""Results of an evaluation: rows that were scored on the same items, and the differences between them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from lvlmscope.errors import EvaluationError, message
from lvlmscope.evaluation.datasets.items import Item, Metric
from lvlmscope.evaluation.item_counts import Counts, counted_over, ratios
from lvlmscope.evaluation.paired_differences import Difference, mcnemar_test, paired_differences, ratio_values

__all__ = ["Comparison", "Evaluation", "Role", "Row", "compare_rows"]

Role = Literal["plain", "intervention", "length_matched", "placebo"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Row:
    """Answers to all items under one condition.

    Attributes:
        label: Its name in tables.
        role: `"plain"`, an `"intervention"`, or one of the controls of an intervention: plain captions cut to its
            number of mentions (`"length_matched"`), or edits as large as its own at random places (`"placebo"`).
        control_of: Label of the intervention that a control belongs to; empty for others.
        answers: One text for each item.
        counts: What each answer counts, int64 [item] by name.
        interventions: What each intervention of the stack describes of itself (JSON values).
        edits: What each reported after all answers (JSON values).
        tokens: Generated tokens of each answer; empty where nothing was generated.
        cut: Whether each answer was cut off by the limit of tokens; empty where nothing was generated.
        seconds: Time of `generate`, NaN where nothing was generated.
    """

    label: str
    role: Role
    answers: tuple[str, ...]
    counts: Counts = field(repr=False)
    control_of: str = ""
    interventions: tuple[Mapping[str, Any], ...] = ()
    edits: tuple[Mapping[str, Any], ...] = ()
    tokens: tuple[int, ...] = ()
    cut: tuple[bool, ...] = ()
    seconds: float = float("nan")

    @property
    def milliseconds_per_token(self) -> float:
        """Time of `generate` for each token, NaN where nothing was generated."""
        return 1000 * self.seconds / sum(self.tokens) if sum(self.tokens) else float("nan")


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A row minus another one on the same items.

    Attributes:
        row: Label of the row.
        against: Label of the row that is subtracted.
        differences: By score, with paired bootstrap intervals over images.
        made_right: Yes/no questions whose answer became right; None without questions.
        made_wrong: Those whose answer became wrong.
        p: McNemar's exact two-sided p value.
    """

    row: str
    against: str
    differences: Mapping[str, Difference]
    made_right: int | None = None
    made_wrong: int | None = None
    p: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Evaluation:
    """Rows scored on the same items in the same order.

    Attributes:
        name: Name of the data set.
        metric: How answers were scored.
        fingerprint: Of the items: evaluations with the same one can be compared.
        items: The items, without images when the evaluation was read from a folder.
        rows: The plain row first.
        comparisons: The differences between rows.
        settings: Model, versions, seeds and options (JSON values).
    """

    name: str
    metric: Metric
    fingerprint: str
    items: tuple[Item, ...] = field(repr=False)
    rows: tuple[Row, ...]
    comparisons: tuple[Comparison, ...]
    settings: Mapping[str, Any]

    def __repr__(self) -> str:
        """Data set, metric, labels of the rows."""
        return f"Evaluation({self.name!r}, {self.metric}, {len(self.items)} items: {', '.join(self.labels)})"

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels of the rows, in order."""
        return tuple(row.label for row in self.rows)

    @property
    def scores(self) -> dict[str, dict[str, float]]:
        """By row, every score."""
        return {row.label: ratio_values(ratios(row.counts, self.metric)) for row in self.rows}

    def scores_by_kind(self) -> dict[str, dict[str, dict[str, float]]]:
        """By kind of item (split, type, subtask) and row, every score; empty where all items are of one kind."""
        kinds = np.array([item.kind for item in self.items])
        names = dict.fromkeys(kinds.tolist())
        if len(names) < 2:
            return {}
        return {
            kind: {row.label: ratio_values(ratios(row.counts, self.metric, kinds == kind)) for row in self.rows}
            for kind in names
        }

    def row(self, label: str) -> Row:
        """One row.

        Args:
            label: Its label.

        Raises:
            EvaluationError: No such row.
        """
        found = next((row for row in self.rows if row.label == label), None)
        if found is None:
            expected = ", ".join(self.labels)
            raise EvaluationError(message(f"row {label!r}", expected, "choose one", task="look up a row"))
        return found

    def difference(self, row: str, against: str) -> Comparison:
        """A row minus another, if the evaluation compared them.

        Args:
            row: Label of the row.
            against: Label of the row to subtract.

        Raises:
            EvaluationError: The two were not compared.
        """
        found = next((one for one in self.comparisons if (one.row, one.against) == (row, against)), None)
        if found is None:
            expected = ", ".join(f"{one.row!r} against {one.against!r}" for one in self.comparisons) or "none"
            got = f"{row!r} against {against!r}"
            raise EvaluationError(message(got, expected, "choose one of these", task="look up a difference"))
        return found


def compare_rows(
    rows: Sequence[Row], metric: Metric, groups: np.ndarray, *, resamples: int, seed: int
) -> list[Comparison]:
    """Each intervention against the plain row and against its own controls; each placebo against the plain row.

    Args:
        rows: The plain row first.
        groups: Number of each item's image, int64 [item].
        resamples: Draws of the bootstrap.
        seed: Of the draws.

    Returns:
        The comparisons, in the rows' order.
    """
    plain, found = rows[0], []
    for row in rows[1:]:
        against = [plain] if row.role != "length_matched" else []
        if row.role == "intervention":
            against += [one for one in rows if one.control_of == row.label]
        found += [_compared(row, other, metric, groups, {"resamples": resamples, "seed": seed}) for other in against]
    return found


def _compared(row: Row, against: Row, metric: Metric, groups: np.ndarray, draws: dict[str, int]) -> Comparison:
    before, after = ratios(against.counts, metric), ratios(row.counts, metric)
    if against.role == "length_matched":  # cut captions; yes/no answers are the plain ones
        before = {name: sums for name, sums in before.items() if counted_over(name, metric) == "captions"}
    gaps = paired_differences(before, after, groups, **draws)
    if "questions" not in row.counts or against.role == "length_matched":
        return Comparison(row=row.label, against=against.label, differences=gaps)
    is_question = row.counts["questions"] > 0
    right, wrong, p = mcnemar_test(against.counts["correct"][is_question] > 0, row.counts["correct"][is_question] > 0)
    return Comparison(row=row.label, against=against.label, differences=gaps, made_right=right, made_wrong=wrong, p=p)
