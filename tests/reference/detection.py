"""AUROC, average precision and the bootstrap by trace in plain loops: float64, nothing of the library."""

import math


def auroc(values: list[float], positive: list[bool]) -> float:
    """Share of (positive, negative) pairs in the right order, ties half."""
    won = pairs = 0.0
    for value, is_positive in zip(values, positive, strict=True):
        for other, other_positive in zip(values, positive, strict=True):
            if is_positive and not other_positive:
                pairs += 1
                won += 1.0 if value > other else 0.5 if value == other else 0.0
    return won / pairs if pairs else math.nan


def average_precision(values: list[float], positive: list[bool]) -> float:
    """Walk the thresholds down: precision at each, weighted by the recall it adds."""
    total = sum(positive)
    area = recall = 0.0
    for threshold in sorted(set(values), reverse=True):
        named = [p for v, p in zip(values, positive, strict=True) if v >= threshold]
        area += (sum(named) / total - recall) * sum(named) / len(named)
        recall = sum(named) / total
    return area


def repeated(items: list, groups: list[int], counts: list[int]) -> list:
    """The items of a resample in which group g was drawn counts[g] times."""
    return [item for item, group in zip(items, groups, strict=True) for _ in range(counts[group])]


def percentile(numbers: list[float], share: float) -> float:
    """Linear interpolation between the two nearest of the sorted numbers."""
    ordered = sorted(numbers)
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def quantile(reference: list[float], value: float) -> float:
    """Share of the reference below the value, ties half."""
    return sum(1.0 if r < value else 0.5 if r == value else 0.0 for r in reference) / len(reference)


def best_layer_scores(values: list[list[float]], positive: list[bool], fold: list[int]) -> list[float]:
    """Fold by fold: the layer whose AUROC on the other folds is farthest from a half, then quantiles among them."""
    scores = [math.nan] * len(values)
    for number in sorted(set(fold)):
        train = [n for n, f in enumerate(fold) if f != number]
        best, area = 0, 0.5
        for layer in range(len(values[0])):
            found = auroc([values[n][layer] for n in train], [positive[n] for n in train])
            if abs(found - 0.5) > abs(area - 0.5):
                best, area = layer, found
        for n, f in enumerate(fold):
            if f == number:
                rank = quantile([values[m][best] for m in train], values[n][best])
                scores[n] = rank if area >= 0.5 else 1 - rank
    return scores
