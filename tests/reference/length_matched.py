"""The length-matched control by hand: CHAIR of the first mentions of each caption, counted one by one."""

from collections.abc import Sequence


def first_mentions(
    mentions: Sequence[Sequence[str]], present: Sequence[set[str]], counts: Sequence[int]
) -> dict[str, float]:
    """CHAIR_I, CHAIR_S and recall of captions that stop after some mentions.

    Args:
        mentions: Categories that each plain caption names, in order.
        present: Categories in each image.
        counts: How many mentions each caption of the intervention has.
    """
    named = hallucinated = captions_with = found = there = 0
    for told, truth, count in zip(mentions, present, counts, strict=True):
        kept = []
        for category in told:
            if len(kept) < count:
                kept.append(category)
        wrong = 0
        for category in kept:
            if category not in truth:
                wrong += 1
        named += len(kept)
        hallucinated += wrong
        captions_with += 1 if wrong > 0 else 0
        for category in truth:
            if category in kept:
                found += 1
        there += len(truth)
    return {
        "chair_i": hallucinated / named,
        "chair_s": captions_with / len(mentions),
        "recall": found / there,
        "mentions": named / len(mentions),
    }
