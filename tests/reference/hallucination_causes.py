"""Causes of hallucinated words from shares of functional heads: plain loops, nothing of the library."""

import math


def head_share(ratio: list[list[list[float]]], layers: list[int], *, possible: list[int], chosen) -> list[list[float]]:
    """[layer][step] from S_v [step][layer][head]: how many heads are chosen; NaN where none can be, or none sees."""
    found = []
    for place, layer in enumerate(layers):
        row = []
        for step in ratio:
            heads = step[place]
            blind = layer not in possible or max(heads) <= 0
            row.append(math.nan if blind else sum(chosen(value) for value in heads) / len(heads))
        found.append(row)
    return found


def mean_over_layers(values: list[float]) -> float:
    """Mean of what is no NaN."""
    known = [value for value in values if not math.isnan(value)]
    return math.fsum(known) / len(known) if known else math.nan


def quantile(values: list[float], share: float) -> float:
    """Linear between the two nearest."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def causes(words: list[tuple[float, float, bool]], share: float) -> dict[bool, dict[str, int]]:
    """Counts of each cause at hallucinated (True) and grounded words, from (perception, reasoning, hallucinated)."""
    limits = [quantile([word[place] for word in words if not word[2]], share) for place in (0, 1)]
    found = {wrong: dict.fromkeys(("perception", "reasoning", "both", "neither"), 0) for wrong in (True, False)}
    for perception, reasoning, wrong in words:
        few = (perception < limits[0] - 1e-6, reasoning < limits[1] - 1e-6)  # equal up to rounding is not below
        names = {(True, False): "perception", (False, True): "reasoning", (True, True): "both"}
        found[wrong][names.get(few, "neither")] += 1
    return found
