"""Anchors, correlations, sensitive heads and drift straight from methods 1.5 and 1.6: float64, loops, no library."""

import math

from tests.reference.attention_signals import Rows, entropy, image_mass


def pearson(one: list[float], other: list[float]) -> float:
    """NaN where either is constant."""
    n = len(one)
    a, b = math.fsum(one) / n, math.fsum(other) / n
    top = math.fsum((x - a) * (y - b) for x, y in zip(one, other, strict=True))
    under = math.sqrt(math.fsum((x - a) ** 2 for x in one) * math.fsum((y - b) ** 2 for y in other))
    return top / under if under > 1e-12 else math.nan


def layer_map(heads: list[list[float]], keys: list[int]) -> list[float]:
    total = math.fsum(row[j] for row in heads for j in keys)
    return [math.fsum(row[j] for row in heads) / total for j in keys]


def ranked(heads: list[list[float]], image: list[bool]) -> list[int]:
    """Heads by image mass, least first."""
    return sorted(range(len(heads)), key=lambda h: image_mass(heads[h], image))


def ends(heads: list[list[float]], image: list[bool], fraction: float) -> tuple[list[int], list[int]]:
    """Insensitive and sensitive heads of one row."""
    order, count = ranked(heads, image), max(1, int(len(heads) * fraction))
    return order[:count], order[-count:]


def anchor_correlation(
    rows: Rows, image: list[bool], *, initial: list[int], middle: list[int], fraction: float
) -> list[list[list[float]]]:
    """[r_neg, r_pos][layer][step]"""
    keys = [j for j, is_image in enumerate(image) if is_image]
    result = []
    for band, end in ((initial, 0), (middle, 1)):
        of_layers = []
        for layer in range(len(rows[0])):
            steps = []
            for step in rows:
                shares = []
                for other in band:
                    if other == layer:
                        continue
                    for h in ends(step[other], image, fraction)[end]:
                        mass = image_mass(step[other][h], image)
                        shares.append([step[other][h][j] / mass for j in keys])
                if not shares:
                    steps.append(math.nan)
                    continue
                anchor = [math.fsum(p[n] for p in shares) / len(shares) for n in range(len(keys))]
                steps.append(pearson(layer_map(step[layer], keys), anchor))
            of_layers.append(steps)
        result.append(of_layers)
    return result


def layer_correlation(rows: Rows, image: list[bool]) -> list[list[list[float]]]:
    """[step][layer][other]"""
    keys = [j for j, is_image in enumerate(image) if is_image]
    result = []
    for step in rows:
        maps = [layer_map(heads, keys) for heads in step]
        result.append([[pearson(one, other) for other in maps] for one in maps])
    return result


def sensitive_heads(rows: Rows, image: list[bool], fraction: float, *, most: bool) -> list[list[list[bool]]]:
    """[layer][head][step]"""
    heads = range(len(rows[0][0]))
    return [
        [[h in ends(step[layer], image, fraction)[int(most)] for step in rows] for h in heads]
        for layer in range(len(rows[0]))
    ]


def sensitive_head_entropy(rows: Rows, image: list[bool], fraction: float) -> list[list[float]]:
    """[layer][step]"""
    keys = [j for j, is_image in enumerate(image) if is_image]
    result = []
    for layer in range(len(rows[0])):
        steps = []
        for step in rows:
            chosen = ends(step[layer], image, fraction)[1]
            values = []
            for h in chosen:
                mass = image_mass(step[layer][h], image)
                values.append(entropy([step[layer][h][j] / mass for j in keys]))
            steps.append(math.fsum(values) / len(values))
        result.append(steps)
    return result


def drift(hidden: list[list[list[float]]], measure: str) -> list[list[float]]:
    """[layer][step]"""
    result = []
    for layer in range(1, len(hidden[0])):
        steps = []
        for states in hidden:
            a, b = states[layer - 1], states[layer]
            length = math.sqrt(math.fsum(x * x for x in a))
            if measure == "cosine":
                other = math.sqrt(math.fsum(y * y for y in b))
                steps.append(1 - math.fsum(x * y for x, y in zip(a, b, strict=True)) / (length * other))
            else:
                steps.append(math.sqrt(math.fsum((y - x) ** 2 for x, y in zip(a, b, strict=True))) / length)
        result.append(steps)
    return result


def uniform(prompt_length: int, keys: int, steps: int) -> list[list[float]]:
    """[step][key]"""
    return [[1 / (prompt_length + t) if j < prompt_length + t else 0.0 for j in range(keys)] for t in range(steps)]
