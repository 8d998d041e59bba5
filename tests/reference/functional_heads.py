"""Perception and reasoning heads straight from methods 2.2: plain loops, nothing of the library."""

import math

# model: l_reas, tau_reas, g_reas, l_perc, tau_perc, g_perc
TABLE = {
    "Kimi-VL-A3B-Thinking": (5, 0.01, 1.40, 10, 0.27, 1.20),
    "Ocean-R1-7B": (3, 0.01, 1.30, 7, 0.22, 1.16),
    "R1-Onevision-7B": (3, 0.01, 1.30, 7, 0.30, 1.20),
}


def classes(
    ratio: list[list[float]], *, l_perc: int, tau_perc: float, l_reas: int, tau_reas: float
) -> list[list[list[bool]]]:
    """[perception, reasoning][layer][head]"""
    perception, reasoning = [], []
    for layer, heads in enumerate(ratio):
        perception.append([layer <= l_perc and value >= tau_perc for value in heads])
        reasoning.append([layer >= l_reas and value <= tau_reas for value in heads])
    return [perception, reasoning]


def thresholds(
    ratio: list[list[float]], share: float, *, perception_until: float, reasoning_from: float
) -> dict[str, float]:
    """Half of the share to each class, boundaries by depth l / (L - 1)."""
    last = len(ratio) - 1
    early = [layer for layer in range(last + 1) if layer <= perception_until * last + 1e-9]
    late = [layer for layer in range(last + 1) if layer >= reasoning_from * last - 1e-9]
    count = max(1, round(share * len(ratio) * len(ratio[0]) / 2))
    high = sorted((v for layer in early for v in ratio[layer]), reverse=True)
    low = sorted(v for layer in late for v in ratio[layer])
    tau_perc, tau_reas = high[min(count, len(high)) - 1], low[min(count, len(low)) - 1]
    assert math.isfinite(tau_perc)
    return {"l_perc": early[-1], "tau_perc": tau_perc, "l_reas": late[0], "tau_reas": tau_reas}
