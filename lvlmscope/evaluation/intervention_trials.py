"""Does an intervention help: the same captions and questions with and without it, and intervals of the differences."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from lvlmscope.attention.option_checks import each_of, require_kind
from lvlmscope.errors import EvaluationError, message
from lvlmscope.evaluation.captioning import answers
from lvlmscope.evaluation.labelled_images import MAX_NEW_TOKENS, PROMPT
from lvlmscope.evaluation.metrics.chair import CHAIR_SCORES, ChairScores, chair
from lvlmscope.evaluation.metrics.pope import POPE_SCORES, PopeScores, pope
from lvlmscope.evaluation.metrics.ratios import terms
from lvlmscope.evaluation.metrics.vocabulary import vocabulary
from lvlmscope.evaluation.paired_differences import Difference, Ratios, mcnemar_test, paired_differences
from lvlmscope.interface.parameter_checks import checked
from lvlmscope.models.loaded_model import LoadedModel
from lvlmscope.runtime.attachment import intervene
from lvlmscope.runtime.protocol import Intervention
from lvlmscope.tiny import Scene
from lvlmscope.tiny.captions import negatives
from lvlmscope.tiny.world import with_article

__all__ = ["Difference", "Outcome", "asked_of", "differences", "mcnemar", "measure"]

_PROBE_SCORES: Final = ("accuracy", "f1", "yes_rate")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a model said about a list of scenes.

    Attributes:
        captions: CHAIR counts of each caption.
        probes: Verdict of each question.
        reports: What each intervention tells of itself, captions and questions together.
    """

    captions: ChairScores
    probes: PopeScores
    reports: tuple[dict[str, Any], ...] = ()

    def summary(self) -> dict[str, int | float]:
        """CHAIR_I, CHAIR_S, recall, mean words, yes/no accuracy, F1 and yes rate."""
        answered = self.probes.summary()
        return self.captions.summary() | {name: answered[name] for name in ("questions", *_PROBE_SCORES)}


def asked_of(scene: Scene) -> tuple[str, bool]:
    """One yes/no question for a scene: the category and whether it is there.

    Even scenes are asked about something that is there, odd ones about something that is not: the missing partner of
    a present object where there is one.
    """
    rng = np.random.default_rng([scene.seed, scene.index, 1])
    if scene.index % 2 == 0:
        return str(rng.choice(sorted(scene.present))), True
    absent = negatives(rng, scene.present, "partner") or negatives(rng, scene.present, "random")
    return str(rng.choice(absent)), False


@checked
def measure(
    model: Any,
    held: Sequence[Scene],
    *interventions: Intervention,
    max_new_tokens: int = MAX_NEW_TOKENS,
    batch_size: int = 100,
) -> Outcome:
    """Greedy captions of the scenes, and one yes/no question each, under a stack of interventions.

    Args:
        model: The bundled model, as `load` gives it, or another that knows its world.
        held: The scenes.
        *interventions: In the order in which they act; none for the plain model.
        max_new_tokens: Length allowed to each caption.
        batch_size: Answers in one `generate`.

    Returns:
        Counts per caption and question.

    Raises:
        EvaluationError: No scenes.
        ModelInputError: Something else than a model and scenes.
    """
    held = list(each_of("held", held, "scenes"))
    for scene in held:
        require_kind("held", scene, Scene, "scenes")
    if not held:
        raise EvaluationError(
            message("no scenes", "at least one", "draw some with tiny.scenes", task="measure an intervention")
        )
    require_kind("model", model, LoadedModel, "what load gives")
    questions = [asked_of(scene) for scene in held]
    pairs = [(s.image, f"Is there {with_article(n)} in the image?") for s, (n, _) in zip(held, questions, strict=True)]
    bare, processor = model.model, model.processor
    with intervene(model, *interventions) as handle:
        described = [(scene.image, PROMPT) for scene in held]
        texts = answers(bare, processor, described, max_new_tokens=max_new_tokens, batch_size=batch_size)
        verdicts = answers(bare, processor, pairs, max_new_tokens=12, batch_size=batch_size)
    return Outcome(
        captions=chair(texts, [scene.present for scene in held], vocabulary()),
        probes=pope(verdicts, [truth for _, truth in questions]),
        reports=handle.report(),
    )


@checked
def differences(before: Outcome, after: Outcome, *, resamples: int = 2000, seed: int = 0) -> dict[str, Difference]:
    """After minus before for every score, the same scenes drawn for both in each resample.

    Args:
        before: Usually the plain model.
        after: With the interventions.
        resamples: Number of draws.
        seed: Of the draws.

    Returns:
        chair_i, chair_s, recall, mean_words, accuracy, f1 and yes_rate.

    Raises:
        EvaluationError: Different numbers of scenes.
        ModelInputError: Something else than outcomes.
    """
    for name, given in (("before", before), ("after", after)):
        require_kind(name, given, Outcome, "what measure returns")
    count = len(before.captions.named)
    if count != len(after.captions.named):
        got = f"{count} and {len(after.captions.named)} scenes"
        raise EvaluationError(message(got, "the same scenes", "measure both on them", task="compare outcomes"))
    return paired_differences(_ratios(before), _ratios(after), np.arange(count), resamples=resamples, seed=seed)


def mcnemar(before: PopeScores, after: PopeScores) -> tuple[int, int, float]:
    """McNemar's exact test of the questions whose answers changed between right and wrong.

    Args:
        before: Verdicts without the interventions.
        after: With them, on the same questions.

    Returns:
        Questions made right, questions made wrong, and the two-sided p value.

    Raises:
        ModelInputError: Something else than verdicts.

    >>> plain, better = pope(["yes"] * 6, [False] * 6), pope(["no"] * 6, [False] * 6)
    >>> mcnemar(plain, better)
    (6, 0, 0.03125)
    """
    for name, given in (("before", before), ("after", after)):
        require_kind(name, given, PopeScores, "what pope returns")
    return mcnemar_test(before.correct, after.correct)


def _ratios(outcome: Outcome) -> Ratios:
    captions, questions = outcome.captions.counts, outcome.probes.counts
    found = {name: terms(captions, formula) for name, formula in CHAIR_SCORES.items()}
    return found | {name: terms(questions, POPE_SCORES[name]) for name in _PROBE_SCORES}
