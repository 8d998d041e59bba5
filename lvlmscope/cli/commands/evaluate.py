"""`lvlmscope eval`: the bundled model's report card."""

import json
from collections.abc import Sequence

from lvlmscope.cli.console import console, score_table
from lvlmscope.cli.intervention_syntax import parse_intervention
from lvlmscope.evaluation import report_card
from lvlmscope.runtime.attachment import intervene
from lvlmscope.verification.loading import load

__all__ = ["run_evaluation"]


def run_evaluation(
    model: str, *, interventions: Sequence[str], n: int, seed: int, max_new_tokens: int, as_json: bool
) -> None:
    """Prints captions' CHAIR and probes' POPE scores, on the images and on a grey one.

    Args:
        model: What `load` takes.
        interventions: Interventions to switch on, in order, as `parse_intervention` reads them.
        n: Scenes of each split.
        seed: Seed of the scenes.
        max_new_tokens: Length allowed to each caption.
        as_json: One JSON object instead of tables.
    """
    loaded = load(model)
    with intervene(loaded, *map(parse_intervention, interventions)) as handle:
        card = report_card(loaded.model, loaded.processor, n=n, seed=seed, max_new_tokens=max_new_tokens)
    edits = handle.report()
    if as_json:
        console.print_json(json.dumps(card.to_json() | {"interventions": edits}))
        return
    for report in edits:
        console.print(f"{report['name']}: {report}", soft_wrap=True)
    console.print(score_table(f"captions, greedy, at most {max_new_tokens} new tokens", card.captions))
    console.print(score_table("yes/no probes, by split / kind of negative", card.probes))
    console.print(score_table("the same questions on a grey image", card.blank))
