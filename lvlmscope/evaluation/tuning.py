"""`tune`: an intervention's parameters, chosen on images that are kept for that purpose alone."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lvlmscope.errors import EvaluationError, ModelInputError, message, task
from lvlmscope.evaluation.captioning import answers
from lvlmscope.evaluation.labelled_images import MAX_NEW_TOKENS, PROMPT, Example, known_images, known_vocabulary
from lvlmscope.evaluation.metrics.chair import ChairScores, chair
from lvlmscope.evaluation.metrics.vocabulary import Vocabulary
from lvlmscope.interface.parameter_checks import checked
from lvlmscope.interventions.registry import intervention_class
from lvlmscope.models.loaded_model import find_processor, unwrap
from lvlmscope.runtime.attachment import intervene
from lvlmscope.runtime.protocol import Intervention

__all__ = ["Example", "Trial", "Tuning", "tune"]

Space = Mapping[str, Sequence[Any]]
_EDITS = ("edited_heads", "scaled_heads", "changed_tokens")
_PENALTY = 10.0  # CHAIR_I a point of recall beyond the limit is worth: a soft wall that the sampler can climb down


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One setting and what it did.

    Attributes:
        intervention: The setting.
        scores: CHAIR_I, CHAIR_S, recall, mean words and the count of captions.
        edited: (row, head) pairs whose attention or output was changed, a pair for each layer; tokens for an
            intervention that chooses tokens.
    """

    intervention: Intervention
    scores: dict[str, int | float]
    edited: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """What was tried and what was best.

    Attributes:
        plain: The untouched model's scores on the same images.
        trials: All trials that ran, in order; settings that the method refuses are not among them.
        max_recall_loss: Recall that may be lost, in shares of 1.
    """

    plain: dict[str, int | float]
    trials: tuple[Trial, ...]
    max_recall_loss: float

    @property
    def feasible(self) -> tuple[Trial, ...]:
        """Trials within the limit of recall."""
        return tuple(t for t in self.trials if self.plain["recall"] - t.scores["recall"] <= self.max_recall_loss)

    @property
    def best(self) -> Trial:
        """The trial with the lowest CHAIR_I within the limit of recall.

        Raises:
            EvaluationError: None is within it.
        """
        if not self.feasible:
            least = min(self.plain["recall"] - t.scores["recall"] for t in self.trials)
            got, expected = f"none that loses at most {self.max_recall_loss:.3f}", f"{least:.3f} or more"
            fix = "allow more loss, more trials, or weaker settings in space="
            raise EvaluationError(message(got, expected, fix, task="choose a trial by its recall"))
        return min(self.feasible, key=lambda t: t.scores["chair_i"])


@checked
@task("tune an intervention")
def tune(
    model: Any,
    intervention: str | type[Intervention],
    examples: Iterable[Example | tuple[Any, Collection[str]]],
    *,
    space: Space | None = None,
    fixed: Mapping[str, Any] | None = None,
    trials: int = 30,
    max_recall_loss: float = 0.02,
    prompt: str = PROMPT,
    words: Vocabulary | None = None,
    max_new_tokens: int = MAX_NEW_TOKENS,
    batch_size: int = 100,
    seed: int = 0,
    processor: Any = None,
    progress: Callable[[Trial], None] | None = None,
) -> Tuning:
    """The setting of an intervention with the lowest CHAIR_I whose captions keep their recall (shares of 1).

    Optuna's TPE sampler lowers `CHAIR_I + 10 * (recall lost beyond the limit)`. Captions are greedy and all have the
    same length allowed. The images are to be kept for this alone: scores on images that chose it are too good.

    Args:
        model: What `load` gave, or a bare model with `processor`.
        intervention: An intervention's name or class.
        examples: Images with the objects in them: pairs, or objects with `image` and `present`.
        space: For each parameter `(low, high)` of two numbers (whole ones stay whole), or a list of choices; the
            method's own space when None.
        fixed: Parameters that are to have one value.
        trials: Number of settings to try.
        max_recall_loss: Recall that may be lost, in shares of 1.
        prompt: Asked of every image.
        words: Which words name which object; may be left out for the bundled model alone.
        max_new_tokens: Length allowed to each caption.
        batch_size: Captions in one `generate`.
        seed: Seed of the sampler.
        processor: The model's processor, when `load` did not give one.
        progress: Called with every trial.

    Returns:
        All trials, the plain model's scores, and `best`.

    Raises:
        EvaluationError: No images, no space, fewer than one trial, or settings that the method all refuses.
        InterventionError: No such intervention.
    """
    import optuna

    held = list(known_images(examples))
    kind = intervention_class(intervention) if isinstance(intervention, str) else intervention
    card = getattr(kind, "card", None)
    where = dict(space if space is not None else card.search_space if card else {})
    if not held or not where or trials < 1:
        got = f"{len(held)} images, {len(where)} parameters to vary, {trials} trials"
        raise EvaluationError(message(got, "at least one of each", "pass examples=, space= and trials="))
    bare, reader = unwrap(model), find_processor(model, processor)
    options: dict[str, Any] = {"max_new_tokens": max_new_tokens, "batch_size": batch_size}
    measure = _measure(bare, reader, held, known_vocabulary(model, words), prompt=prompt, options=options)
    plain, _ = measure(None)
    done: list[Trial] = []

    def objective(trial: Any) -> float:
        chosen = {name: _suggest(trial, name, choices) for name, choices in where.items()} | dict(fixed or {})
        try:
            scores, edited = measure(intervention := kind(**chosen))
        except ModelInputError as error:
            raise optuna.TrialPruned(str(error)) from error
        done.append(Trial(intervention=intervention, scores=scores.summary(), edited=edited))
        if progress is not None:
            progress(done[-1])
        return scores.chair_i + _PENALTY * max(0.0, plain.recall - scores.recall - max_recall_loss)

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    study.optimize(objective, n_trials=trials)
    if not done:
        got = study.trials[0].system_attrs.get("fail_reason", f"{trials} settings that it refuses")
        raise EvaluationError(message(got, "settings that it accepts", "change space=", task=f"tune {kind.__name__}"))
    return Tuning(plain=plain.summary(), trials=tuple(done), max_recall_loss=max_recall_loss)


def _suggest(trial: Any, name: str, choices: Sequence[Any]) -> Any:
    """A value from (low, high), or one of a list; optuna keeps texts, so that bands of layers are told by number."""
    if isinstance(choices, tuple) and len(choices) == 2:
        low, high = choices
        whole = isinstance(low, int) and isinstance(high, int)
        return trial.suggest_int(name, low, high) if whole else trial.suggest_float(name, low, high)
    return choices[trial.suggest_categorical(name, range(len(choices)))]


def _measure(
    model: Any,
    processor: Any,
    held: Sequence[tuple[Any, Collection[str]]],
    words: Vocabulary,
    *,
    prompt: str,
    options: dict[str, Any],
) -> Callable[[Intervention | None], tuple[ChairScores, int]]:
    truths = [present for _, present in held]
    pairs = [(image, prompt) for image, _ in held]

    def measured(intervention: Intervention | None) -> tuple[ChairScores, int]:
        if intervention is None:
            return chair(answers(model, processor, pairs, **options), truths, words), 0
        with intervene(model, intervention) as handle:
            texts = answers(model, processor, pairs, **options)
        report = handle.report()[0]
        return chair(texts, truths, words), sum(int(report.get(key, 0)) for key in _EDITS)

    return measured
