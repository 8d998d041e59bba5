"""Methods that mix logits, straight from their papers, for one row: float64, plain loops, nothing of the library."""

import math


def log_softmax(logits: list[float]) -> list[float]:
    most = max(logits)
    total = math.log(sum(math.exp(each - most) for each in logits))
    return [each - most - total for each in logits]


def contrast(logits: list[float], other: list[float], alpha: float, beta: float) -> list[float]:
    """VCD (arXiv 2311.16922 eq. 2-4), ICD (2403.18715)."""
    chances = [math.exp(each) for each in log_softmax(logits)]
    found = []
    for own, against, chance in zip(logits, other, chances, strict=True):
        plausible = beta == 0 or chance >= beta * max(chances)
        found.append((1 + alpha) * own - alpha * against if plausible else -math.inf)
    return found


def summed(logits: list[float], other: list[float], alpha: float, beta: float) -> list[float]:
    """AGLA (arXiv 2406.12718): both views are added up."""
    chances = [math.exp(each) for each in log_softmax(logits)]
    return [
        own + alpha * more if chance >= beta * max(chances) else -math.inf
        for own, more, chance in zip(logits, other, chances, strict=True)
    ]


def m3id(logits: list[float], text: list[float], decay: float, threshold: float, token: int) -> list[float]:
    """arXiv 2403.14003 Alg. 1, for the token of that number, from 1."""
    seen, unseen = log_softmax(logits), log_softmax(text)
    if math.exp(max(seen)) >= threshold:
        return logits
    gamma = math.exp(-decay * token)
    return [own + (1 - gamma) / gamma * (own - blind) for own, blind in zip(seen, unseen, strict=True)]


def pai(logits: list[float], text: list[float], gamma: float, beta: float) -> list[float]:
    """arXiv 2407.21771 eq. 5, among the tokens that its code allows."""
    seen, unseen = log_softmax(logits), log_softmax(text)
    return [
        gamma * own - (gamma - 1) * blind if own >= max(seen) + math.log(beta) else -math.inf
        for own, blind in zip(seen, unseen, strict=True)
    ]


def divergence(p: list[float], q: list[float]) -> float:
    """Jensen-Shannon, of log-probabilities."""
    found = 0.0
    for one, two in zip(p, q, strict=True):
        middle = math.log((math.exp(one) + math.exp(two)) / 2)
        found += 0.5 * (math.exp(one) * (one - middle) + math.exp(two) * (two - middle))
    return found


def dola(logits: list[float], early: list[list[float]], beta: float, strength: float) -> list[float]:
    """arXiv 2309.03883 eq. 2-6."""
    last, layers = log_softmax(logits), [log_softmax(each) for each in early]
    chosen = max(layers, key=lambda each: divergence(each, last))
    return [
        own - strength * against if own >= max(last) + math.log(beta) else -math.inf
        for own, against in zip(last, chosen, strict=True)
    ]


def deco(logits: list[float], early: list[list[float]], alpha: float, top_p: float, k: int) -> list[float]:
    """arXiv 2410.11779."""
    chances = [math.exp(each) for each in log_softmax(logits)]
    candidates, total = [], 0.0
    for token in sorted(range(len(logits)), key=lambda each: -chances[each])[:k]:
        if total < top_p:
            candidates.append(token)
        total += chances[token]
    best, anchor = 0.0, early[0]
    for layer in early:
        own = log_softmax(layer)
        most = max(math.exp(own[token]) for token in candidates)
        if most > best:
            best, anchor = most, layer
    return [
        logits[token] + alpha * best * anchor[token] if token in candidates else -math.inf
        for token in range(len(logits))
    ]


def spin_gains(image_mass: list[float], kept: int, alpha: float) -> list[float]:
    """arXiv 2505.16411: the heads of one row."""
    first = sorted(range(len(image_mass)), key=lambda head: -image_mass[head])[:kept]
    return [1.0 if head in first else alpha for head in range(len(image_mass))]


def pai_weights(scores: list[float], image: list[bool], alpha: float) -> list[float]:
    """arXiv 2407.21771 eq. 3-4: one head of one row."""
    raised = [score + alpha * abs(score) if seen else score for score, seen in zip(scores, image, strict=True)]
    return [math.exp(each) for each in log_softmax(raised)]


def kept_share(step: int) -> float:
    """a_T of the schedule in VCD's code, whose steps count from 0."""
    kept = 1.0
    for number in range(step + 1):
        where = -6 + 12 * number / 999
        beta = (0.5e-2 - 1e-5) / (1 + math.exp(-where)) + 1e-5
        kept *= 1 - beta
    return kept
