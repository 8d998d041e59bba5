"""The bundled model's report card: captions and probes on held-out scenes, and how much of it needs the image."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from PIL import Image
from transformers import PreTrainedModel, ProcessorMixin

from lvlmscope.attention.option_checks import require_kind
from lvlmscope.evaluation.captioning import answers
from lvlmscope.evaluation.labelled_images import MAX_NEW_TOKENS, PROMPT
from lvlmscope.evaluation.metrics.chair import chair
from lvlmscope.evaluation.metrics.pope import pope
from lvlmscope.evaluation.metrics.vocabulary import vocabulary
from lvlmscope.interface.parameter_checks import checked
from lvlmscope.tiny import Scene, Split, scenes
from lvlmscope.tiny.captions import negatives
from lvlmscope.tiny.world import with_article

__all__ = ["ReportCard", "caption_scores", "probe_scores", "report_card"]

SPLITS: Final[tuple[Split, ...]] = ("neutral", "prior", "hard")
Against = Literal["random", "partner"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportCard:
    """What the bundled model can and cannot do, on held-out scenes, greedy.

    Attributes:
        captions: CHAIR_I, CHAIR_S, recall and mean words of each split, and of `"all"` splits together.
        probes: POPE scores by split and kind of negative: `"neutral/random"`, `"prior/partner"`, ...;
            left out where no scene offers a question of the kind.
        blank: POPE scores on the same questions with a grey image: what the language prior alone answers.
        scenes: Scenes of each split.
        max_new_tokens: Length allowed to each caption.
    """

    captions: dict[str, dict[str, int | float]]
    probes: dict[str, dict[str, int | float]]
    blank: dict[str, dict[str, int | float]]
    scenes: int
    max_new_tokens: int

    def to_json(self) -> dict[str, Any]:
        """All numbers as JSON values."""
        return {name: getattr(self, name) for name in ("scenes", "max_new_tokens", "captions", "probes", "blank")}


def caption_scores(
    model: PreTrainedModel, processor: ProcessorMixin, held_out: Sequence[Scene], *, max_new_tokens: int
) -> dict[str, int | float]:
    """CHAIR of the model's captions of these scenes."""
    pairs = [(scene.image, PROMPT) for scene in held_out]
    texts = answers(model, processor, pairs, max_new_tokens=max_new_tokens, description="captions")
    return chair(texts, [scene.present for scene in held_out], vocabulary()).summary()


def questions(held_out: Sequence[Scene], against: Against) -> list[tuple[Scene, str, bool]]:
    """One question about a present and one about an absent category for each scene that offers both."""
    found: list[tuple[Scene, str, bool]] = []
    for scene in held_out:
        rng = np.random.default_rng([scene.seed, scene.index, 1])
        present = str(rng.choice(sorted(scene.present)))
        absent = negatives(rng, scene.present, against)
        if absent:
            found += [(scene, present, True), (scene, str(rng.choice(absent)), False)]
    return found


def probe_scores(
    model: PreTrainedModel, processor: ProcessorMixin, probes: Sequence[tuple[Scene, str, bool]], *, blank: bool = False
) -> dict[str, int | float]:
    """POPE scores of the questions; with `blank`, on a plain grey image instead of each scene's own."""
    grey = Image.new("RGB", (112, 112), (127, 127, 127))
    pairs = [(grey if blank else s.image, f"Is there {with_article(name)} in the image?") for s, name, _ in probes]
    texts = answers(model, processor, pairs, max_new_tokens=12, batch_size=100, description="probes")
    return pope(texts, [truth for *_, truth in probes]).summary()


@checked
def report_card(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    *,
    n: int = 500,
    seed: int = 0,
    max_new_tokens: int = MAX_NEW_TOKENS,
) -> ReportCard:
    """Runs the whole card.

    Args:
        model: The bundled model, or another one that knows its world.
        processor: Its processor.
        n: Scenes of each split.
        seed: Seed of the held-out scenes.
        max_new_tokens: Length allowed to each caption.

    Raises:
        ModelInputError: No model, or no processor.
    """
    require_kind("model", model, PreTrainedModel, "a bare model: lv.load(...).model")
    require_kind("processor", processor, ProcessorMixin, "its processor: lv.load(...).processor")
    drawn: dict[str, list[Scene]] = {split: list(scenes(split, n=n, seed=seed)) for split in SPLITS}
    everything = [scene for held in drawn.values() for scene in held]
    images = {**drawn, "all": everything}
    captions = {s: caption_scores(model, processor, held, max_new_tokens=max_new_tokens) for s, held in images.items()}
    probes: dict[str, dict[str, int | float]] = {}
    blank: dict[str, dict[str, int | float]] = {}
    for split, held in drawn.items():
        for against in ("random", "partner"):
            found = questions(held, "random" if against == "random" else "partner")
            if not found:
                continue  # few scenes, and each has all its usual company: nothing to ask
            probes[f"{split}/{against}"] = probe_scores(model, processor, found)
            blank[f"{split}/{against}"] = probe_scores(model, processor, found, blank=True)
    return ReportCard(captions=captions, probes=probes, blank=blank, scenes=n, max_new_tokens=max_new_tokens)
