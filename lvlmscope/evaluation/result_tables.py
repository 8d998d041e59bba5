"""An evaluation as Markdown: scores, differences, kinds, and how they were made."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from lvlmscope.attention.option_checks import require_kind
from lvlmscope.evaluation.comparison import Comparison, Evaluation, Row
from lvlmscope.evaluation.paired_differences import Difference

__all__ = ["markdown", "score_title"]

_TITLES: Final = {
    "chair_i": "CHAIR_I",
    "chair_s": "CHAIR_S",
    "chair": "CHAIR",
    "cover": "Cover",
    "hal": "Hal",
    "cog": "Cog",
    "f1": "F1",
    "acc_plus": "acc+",
    "mean_words": "words",
    "yes_rate": "yes rate",
}
_COUNTED: Final = {"unclear": "unclear", "parsers_differ": "parsers differ"}
_LONG: Final = ("mean_words", "mentions", "score")


def markdown(result: Evaluation) -> str:
    """The tables of an evaluation.

    Returns:
        Markdown with a table of scores, one of differences, and one by kind of item where there are several.

    Raises:
        ModelInputError: No evaluation.
    """
    require_kind("result", result, Evaluation, "an Evaluation, as evaluate and load_run give it")
    images = len({item.image_id for item in result.items})
    parts = [f"# {result.name}: {result.metric}, {len(result.items)} items, {images} images", _method(result)]
    parts.append(_score_table(result))
    if result.comparisons:
        parts += ["Differences, with 95 % intervals of a paired bootstrap over images:", _difference_table(result)]
    if kinds := result.scores_by_kind():
        parts += ["By kind of item:", _kind_table(kinds)]
    return "\n\n".join(parts) + "\n"


def _method(result: Evaluation) -> str:
    settings = result.settings
    made = [f"model {settings['model']['name']}"] if settings.get("model") else ["answers from files"]
    if settings.get("max_new_tokens"):
        made.append(f"greedy, at most {settings['max_new_tokens']} new tokens, batches of {settings['batch_size']}")
    if any("unclear" in row.counts for row in result.rows):
        made.append(f"answers read by the parser {settings['parser']}")
    tried = sum(row.role == "intervention" for row in result.rows)
    if tried > 1:
        made.append(f"{tried} settings compared; intervals and p values are not corrected for their number")
    return "; ".join(made) + "."


def _score_table(result: Evaluation) -> str:
    scores = result.scores
    names = list(dict.fromkeys(name for row in scores.values() for name in row))
    counted = [name for name in _COUNTED if name in result.rows[0].counts]
    timed = any(not math.isnan(row.milliseconds_per_token) for row in result.rows)
    heads = ["", *map(score_title, names), *(_COUNTED[name] for name in counted), *(["ms a token"] if timed else [])]
    lines = []
    for row in result.rows:
        cells = [_number(name, scores[row.label].get(name, math.nan)) for name in names]
        cells += [_total(row, name) for name in counted]
        lines.append([row.label, *cells, *([_milliseconds(row)] if timed else [])])
    return _table(heads, lines)


def _total(row: Row, name: str) -> str:
    return str(int(row.counts[name].sum()))


def _milliseconds(row: Row) -> str:
    took = row.milliseconds_per_token
    return "" if math.isnan(took) else f"{took:.2f}"


def _difference_table(result: Evaluation) -> str:
    names = list(dict.fromkeys(name for one in result.comparisons for name in one.differences))
    tested = any(one.p is not None for one in result.comparisons)
    heads = ["", *map(score_title, names), *(["right / wrong, p"] if tested else [])]
    lines = [
        [
            f"{one.row} - {one.against}",
            *(_gap(name, one.differences.get(name)) for name in names),
            *([_changed(one)] if tested else []),
        ]
        for one in result.comparisons
    ]
    return _table(heads, lines)


def _kind_table(kinds: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    names = list(dict.fromkeys(name for rows in kinds.values() for scores in rows.values() for name in scores))
    lines = [
        [kind, label, *(_number(name, scores.get(name, math.nan)) for name in names)]
        for kind, rows in kinds.items()
        for label, scores in rows.items()
    ]
    return _table(["", "", *map(score_title, names)], lines)


def score_title(name: str) -> str:
    """A score's name as tables and figures write it.

    >>> score_title("chair_i")
    'CHAIR_I'
    """
    return _TITLES.get(name, name)


def _number(name: str, value: float) -> str:
    return "" if math.isnan(value) else f"{value:.1f}" if name in _LONG else f"{value:.3f}"


def _gap(name: str, gap: Difference | None) -> str:
    if gap is None or math.isnan(gap.value):
        return ""
    return f"{gap.value:+.1f} [{gap.low:+.1f}, {gap.high:+.1f}]" if name in _LONG else str(gap)


def _changed(one: Comparison) -> str:
    return "" if one.p is None else f"{one.made_right} / {one.made_wrong}, {one.p:.2g}"


def _table(heads: Sequence[str], lines: Sequence[Sequence[Any]]) -> str:
    rows = [heads, ["---"] * len(heads), *lines]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in rows)
