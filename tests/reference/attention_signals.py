"""S_v, IAF and LIAE straight from methods 1.1 to 1.3: float64, plain loops, nothing of the library."""

import math

Rows = list[list[list[list[float]]]]  # [step][layer][head][key]


def image_mass(row: list[float], image: list[bool]) -> float:
    return math.fsum(weight for weight, is_image in zip(row, image, strict=True) if is_image)


def visual_attention_ratio(rows: Rows, image: list[bool], step: int | str) -> list[list[float]]:
    chosen = range(len(rows)) if step == "mean" else [int(step)]
    result: list[list[float]] = []
    for layer in range(len(rows[0])):
        result.append([])
        for head in range(len(rows[0][0])):
            mean = math.fsum(image_mass(rows[t][layer][head], image) for t in chosen) / len(chosen)
            result[-1].append(mean)
    return result


def image_attention_focus(rows: Rows, image: list[bool], *, exclude_sink: bool) -> list[list[list[float]]]:
    """[layer][head][step]"""
    result = []
    for layer in range(len(rows[0])):
        heads = []
        for head in range(len(rows[0][0])):
            steps = []
            for t in range(len(rows)):
                row, keys = rows[t][layer][head], image
                if exclude_sink:
                    left = math.fsum(row[1:])
                    row, keys = [weight / left for weight in row[1:]], image[1:]
                steps.append(image_mass(row, keys))
            heads.append(steps)
        result.append(heads)
    return result


def entropy(distribution: list[float]) -> float:
    return -math.fsum(p * math.log(p) for p in distribution if p > 0)


def layer_image_entropy(rows: Rows, image: list[bool], mode: str) -> list[list[float]]:
    """[layer][step]"""
    keys = [j for j, is_image in enumerate(image) if is_image]
    result = []
    for layer in range(len(rows[0])):
        steps = []
        for t in range(len(rows)):
            heads = rows[t][layer]
            masses = [image_mass(row, image) for row in heads]
            if mode == "module":
                value = entropy([math.fsum(row[j] for row in heads) / math.fsum(masses) for j in keys])
            elif mode == "head":
                value = math.fsum(
                    entropy([row[j] / m for j in keys]) for row, m in zip(heads, masses, strict=True)
                ) / len(heads)
            else:
                value = entropy([m / math.fsum(masses) for m in masses])
            steps.append(value)
        result.append(steps)
    return result
