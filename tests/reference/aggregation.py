"""Mean, spread and count over traces in plain loops, and D-LEAF's walk over one trace: nothing of the library."""

import math


def reading_means(rows: list, layer: int | None, head: int | None) -> list[float]:
    """One number a step from [layer][head][step] nested lists: chosen layer and head, or the mean over all."""
    layers = range(len(rows)) if layer is None else [layer]
    heads = range(len(rows[0])) if head is None else [head]
    found = []
    for step in range(len(rows[0][0])):
        values = [rows[l][h][step] for l in layers for h in heads]
        found.append(math.fsum(values) / len(values))
    return found


def statistics(readings: list[float]) -> tuple[float, float, int]:
    """Mean, standard deviation over n - 1, and count of the readings that are no NaN."""
    known = [x for x in readings if not math.isnan(x)]
    if not known:
        return math.nan, math.nan, 0
    mean = math.fsum(known) / len(known)
    spread = math.sqrt(math.fsum((x - mean) ** 2 for x in known) / (len(known) - 1)) if len(known) > 1 else math.nan
    return mean, spread, len(known)


def flagged(entropy: list[float], mass: list[list[float]], threshold: str) -> list[list[bool]]:
    """[layer][head] of one row: methods 2.1 to the letter, heads below the mean of a flagged layer, never the best."""
    seen: list[float] = []
    result = []
    for layer, value in enumerate(entropy):
        level = {"min": min, "max": max, "mean": lambda s: math.fsum(s) / len(s)}[threshold](seen) if seen else math.inf
        heads = mass[layer]
        mean, best = math.fsum(heads) / len(heads), heads.index(max(heads))
        result.append([value > level and h != best and m < mean for h, m in enumerate(heads)])
        if threshold == "mean" or value <= level or threshold == "max" or not seen:
            seen.append(value)
    return result
