"""`tune`: an intervention's parameters, chosen on images that are kept for that purpose alone."""

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Final

from lvlmscope.attention.option_checks import require_function, require_kind
from lvlmscope.errors import EvaluationError, ModelInputError, message, task
from lvlmscope.evaluation.datasets.items import Dataset, Item, Metric
from lvlmscope.evaluation.item_answers import answer_items, require_turns
from lvlmscope.evaluation.item_counts import DIRECTIONS, SCORES, count_answers, ratios
from lvlmscope.evaluation.labelled_images import MAX_NEW_TOKENS, Example, known_images, known_vocabulary
from lvlmscope.evaluation.metrics.vocabulary import Vocabulary
from lvlmscope.evaluation.metrics.yes_no import Parser
from lvlmscope.evaluation.paired_differences import ratio_values
from lvlmscope.evaluation.tuning_space import require_space
from lvlmscope.interface.declared_types import Range
from lvlmscope.interface.parameter_checks import checked
from lvlmscope.interventions.registry import intervention_class
from lvlmscope.models.loaded_model import find_processor, unwrap, with_processor
from lvlmscope.runtime.attachment import intervene
from lvlmscope.runtime.protocol import Intervention

__all__ = ["Example", "Trial", "Tuning", "tune"]

Space = Mapping[str, Sequence[Any]]
_EDITS = ("edited_heads", "scaled_heads", "changed_tokens")
_PENALTY = 10.0  # what a unit lost beyond the limit costs of the score: a soft wall that the sampler can climb down
# By metric: the score, and what may be lost of another one for it
_TRADES: Final[Mapping[Metric, tuple[str, Mapping[str, float]]]] = {
    "chair": ("chair_i", {"recall": 0.02}),
    "amber": ("chair", {"cover": 0.02}),
    "pope": ("accuracy", {}),
    "mme": ("acc", {}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One setting and what it did.

    Attributes:
        intervention: The setting.
        scores: The metric's scores by name, such as `chair_i`, `recall` and `mean_words`, or `accuracy` and `yes_rate`.
        edited: (row, head) pairs whose attention or output was changed, a pair for each layer; tokens for an
            intervention that chooses tokens.
    """

    intervention: Intervention
    scores: dict[str, float]
    edited: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """What was tried and what was best.

    Attributes:
        plain: The untouched model's scores on the same items.
        trials: All trials that ran, in order; settings that the method refuses are not among them.
        score: The score that was improved.
        max_loss: By score, how much worse than the untouched model's it may be, in the score's unit.
    """

    plain: dict[str, float]
    trials: tuple[Trial, ...]
    score: str
    max_loss: Mapping[str, float]

    @property
    def feasible(self) -> tuple[Trial, ...]:
        """Trials within every limit."""
        return tuple(trial for trial in self.trials if not self._excess(trial.scores))

    @property
    def best(self) -> Trial:
        """The trial with the best score within the limits.

        Raises:
            EvaluationError: None is within them.
        """
        if not self.feasible:
            least = min(self.trials, key=lambda trial: self._excess(trial.scores))
            got = "none that loses at most " + _named(self.max_loss)
            losses = {name: _loss(name, self.plain, least.scores) for name in self.max_loss}
            expected = f"{_named(losses)} or more, as the nearest trial does"
            fix = "allow more loss, more trials, or weaker settings in space="
            raise EvaluationError(message(got, expected, fix, task="choose a trial"))
        return min(self.feasible, key=lambda trial: _loss(self.score, self.plain, trial.scores))

    def objective(self, scores: Mapping[str, float]) -> float:
        """What the search lowers: the loss of the score (a gain is negative), and 10 times what passes a limit.

        Args:
            scores: Of a trial.
        """
        return _loss(self.score, self.plain, scores) + _PENALTY * self._excess(scores)

    def _excess(self, scores: Mapping[str, float]) -> float:
        return sum((max(0.0, _loss(name, self.plain, scores) - limit) for name, limit in self.max_loss.items()), 0.0)


def _loss(score: str, plain: Mapping[str, float], scores: Mapping[str, float]) -> float:
    """How much worse a score is than the untouched model's; infinitely where it is not defined: nothing was named."""
    lost = (scores[score] - plain[score]) * (1 if DIRECTIONS[score] == "lower" else -1)
    return math.inf if math.isnan(lost) else lost


def _named(losses: Mapping[str, float]) -> str:
    return ", ".join(f"{loss:.3f} of {name}" for name, loss in losses.items())


@checked
@task("tune an intervention")
def tune(
    model: Any,
    intervention: str | type[Intervention],
    examples: Any,
    *,
    space: Mapping[str, Any] | None = None,
    fixed: Mapping[str, Any] | None = None,
    trials: int = 30,
    score: str | None = None,
    max_loss: Mapping[str, Any] | None = None,
    prompt: str | None = None,
    words: Vocabulary | None = None,
    parser: Parser = "strict",
    max_new_tokens: Annotated[int, Range(ge=1)] | None = None,
    batch_size: Annotated[int, Range(ge=1)] = 100,
    seed: Annotated[int, Range(ge=0, le=2**32 - 1)] = 0,
    processor: Any = None,
    progress: Callable[[Trial], None] | None = None,
) -> Tuning:
    """The setting of an intervention with the best score that costs no more than is allowed of other scores.

    Optuna's TPE sampler lowers the loss of `score` plus 10 times what is lost beyond `max_loss`. Answers are greedy and
    all have the same length allowed. The items are to be kept for this alone: scores on items that chose a setting
    are too good.

    Args:
        model: What `load` gave, or a bare model with `processor`.
        intervention: An intervention's name or class.
        examples: A data set of `lvlmscope.evaluation.datasets`, scored by its metric; or images with the objects in
            them, scored by CHAIR: pairs, or objects with `image` and `present`.
        space: For each parameter `(low, high)` of two numbers (whole ones stay whole), or a list of choices; the
            method's own space when None.
        fixed: Parameters that are to have one value.
        trials: Number of settings to try.
        score: What to improve, a score of the data set's metric. None for `chair_i` (CHAIR), `chair` (AMBER),
            `accuracy` (POPE) or `acc` (MME).
        max_loss: By score, how much worse than the untouched model's it may become, in its unit. None for
            `{"recall": 0.02}` (CHAIR), `{"cover": 0.02}` (AMBER), and no limit for yes/no questions.
        prompt: As in `evaluate`.
        words: Which words name which object, for images with objects; may be left out for the bundled model alone. A
            data set has its own.
        parser: As in `evaluate`.
        max_new_tokens: Length allowed to each answer; the data set's own when None, 48 for images with objects.
        batch_size: Answers in one `generate`.
        seed: Seed of the sampler.
        processor: The model's processor, when `load` did not give one.
        progress: Called with every trial.

    Returns:
        All trials, the plain model's scores, and `best`.

    Raises:
        EvaluationError: No items, no space, fewer than one trial, a score that the metric does not have or that is
            neither good nor bad, or settings that the method all refuses.
        InterventionError: No such intervention.
        ModelInputError: An argument of another type.
    """
    from optuna import TrialPruned

    _require_arguments(progress, space=space, fixed=fixed, max_loss=max_loss)
    data = _dataset(model, examples, words)
    kind, where = _varied(intervention, space, fixed or {})
    if not where or trials < 1:
        got = f"{len(where)} parameters to vary, {trials} trials"
        raise EvaluationError(message(got, "at least one of each", "pass space= and trials="))
    aim, limits = _trade(data.metric, score, max_loss)
    options = {
        "max_new_tokens": data.max_new_tokens if max_new_tokens is None else max_new_tokens,
        "batch_size": batch_size,
    }
    bare, reader = unwrap(model), find_processor(model, processor)
    measure = _measure(bare, reader, data, prompt=prompt, parser=parser, options=options)
    plain, _ = measure(None)
    _require_scores(plain, (aim, *limits))
    done: list[Trial] = []
    result = Tuning(plain=plain, trials=(), score=aim, max_loss=limits)

    def objective(trial: Any) -> float:
        chosen = {name: _suggest(trial, name, choices) for name, choices in where.items()} | dict(fixed or {})
        try:
            scores, edited = measure(intervention := kind(**chosen))
        except ModelInputError as error:
            raise TrialPruned(str(error)) from error
        done.append(Trial(intervention=intervention, scores=scores, edited=edited))
        if progress is not None:
            progress(done[-1])
        return result.objective(scores)

    refusal = _search(objective, trials, seed)
    if not done:
        got = refusal or f"{trials} settings that it refuses"
        raise EvaluationError(message(got, "settings that it accepts", "change space=", task=f"tune {kind.__name__}"))
    return replace(result, trials=tuple(done))


def _varied(
    intervention: str | type[Intervention], space: Mapping[str, Any] | None, fixed: Mapping[str, Any]
) -> tuple[type[Intervention], dict[str, Any]]:
    """The intervention's class, and what its parameters are drawn from."""
    kind: Any = intervention_class(intervention) if isinstance(intervention, str) else intervention
    if not isinstance(kind, type):
        got, fix = f"{intervention!r:.80}", "pass its class: its parameters are what is tuned"
        raise EvaluationError(message(got, "an intervention's name or class", fix))
    card = getattr(kind, "card", None)
    own = card.search_space if card else {}
    where = dict(space) if space is not None else {name: own[name] for name in own if name not in fixed}
    require_space(kind, where, fixed)
    return kind, where


def _require_arguments(progress: Any, **by_name: Any) -> None:
    for name, given in by_name.items():
        if given is not None:
            require_kind(name, given, Mapping, "a dictionary by name")
    if progress is not None:
        require_function("progress", progress, "a function of a trial")


def _search(objective: Callable[[Any], float], trials: int, seed: int) -> str:
    """Runs the trials; why the first one was refused, empty when it was not."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    study.optimize(objective, n_trials=trials)
    return str(study.trials[0].system_attrs.get("fail_reason", ""))


def _dataset(model: Any, examples: Any, words: Vocabulary | None) -> Dataset:
    """The data set given, or images with objects as one."""
    if isinstance(examples, Dataset):
        if words is not None:
            raise EvaluationError(message("words= with a data set", "the data set's own words", "leave words= out"))
        return examples
    pairs: Iterable[tuple[Any, Collection[str]]] = known_images(examples)
    items = tuple(
        Item(id=str(number), image=image, image_id=str(number), objects=tuple(sorted(present)))
        for number, (image, present) in enumerate(pairs)
    )
    if not items:
        raise EvaluationError(message("0 images", "one or more", "pass examples="))
    vocabulary = known_vocabulary(model, words)
    return Dataset(name="examples", metric="chair", items=items, vocabulary=vocabulary, max_new_tokens=MAX_NEW_TOKENS)


def _trade(metric: Metric, score: str | None, max_loss: Mapping[str, Any] | None) -> tuple[str, dict[str, float]]:
    """What is improved and what may be lost for it, checked against the metric's scores."""
    aim, limits = _TRADES[metric]
    aim = aim if score is None else score
    limits = {name: limit for name, limit in limits.items() if name != aim} if max_loss is None else max_loss
    possible = [name for name in SCORES[metric] if name in DIRECTIONS]
    for name in (aim, *limits):
        if name not in possible:
            got, expected = f"score {name!r} for {metric}", ", ".join(possible)
            raise EvaluationError(message(got, expected, "choose one of them"))
    for name, limit in limits.items():
        if not _is_limit(limit):
            got = f"max_loss={{{name!r}: {limit!r}}}"[:80]
            raise EvaluationError(message(got, "numbers from 0", "say how much of the score may be lost"))
    return aim, {name: float(limit) for name, limit in limits.items()}


def _is_limit(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf


def _require_scores(plain: Mapping[str, float], names: Iterable[str]) -> None:
    """Refuses a score that is not defined on these items: there would be nothing to compare with."""
    if missing := [name for name in names if math.isnan(plain.get(name, math.nan))]:
        got = f"{', '.join(missing)} of the untouched model, which is not defined on these items"
        raise EvaluationError(message(got, "a number", "add items, or choose another score"))


def _suggest(trial: Any, name: str, choices: Sequence[Any]) -> Any:
    """A value from (low, high), or one of a list; optuna keeps texts, so that bands of layers are told by number."""
    if isinstance(choices, tuple) and len(choices) == 2:
        low, high = choices
        whole = isinstance(low, int) and isinstance(high, int)
        return trial.suggest_int(name, low, high) if whole else trial.suggest_float(name, low, high)
    return choices[trial.suggest_categorical(name, range(len(choices)))]


def _measure(
    model: Any, processor: Any, data: Dataset, *, prompt: str | None, parser: Parser, options: Mapping[str, Any]
) -> Callable[[Intervention | None], tuple[dict[str, float], int]]:
    """A function that scores an intervention, or the untouched model, and counts the edits."""
    require_turns(data)

    def answered() -> Sequence[str]:
        return answer_items(model, processor, data, prompt, **options).texts

    def scored(texts: Sequence[str]) -> dict[str, float]:
        return ratio_values(ratios(count_answers(data, data.metric, texts, parser), data.metric))

    def measured(intervention: Intervention | None) -> tuple[dict[str, float], int]:
        if intervention is None:
            return scored(answered()), 0
        with intervene(with_processor(model, processor), intervention) as handle:
            texts = answered()
        report = handle.report()[0]
        return scored(texts), sum(int(report.get(key, 0)) for key in _EDITS)

    return measured
