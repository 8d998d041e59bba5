"""Trains the bundled model the way large ones come about: language first, then alignment, then both together.

    python -m lvlmscope.tiny.recipe.train OUT            # resumes from OUT/checkpoint.pt when it is there
    python -m lvlmscope.tiny.recipe.train OUT --seed 8   # another model of the same world, scenes and weights redrawn

1. `language`: the decoder alone. A third of the samples are captions without any image; this plants the prior. The
   others are dialogues about scenes written out as 64 words, from which objects are dropped at times, so that it learns
   to look *and* to guess.
2. `align`: the vision tower and projector alone. Each patch's projected token is pulled to the embedding of the word
   that it shows.
3. `joint`: everything, on images and dialogues; `polish`: the same, warmed up once more.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm
from transformers import LlavaForConditionalGeneration, LlavaProcessor, PreTrainedTokenizerFast

from lvlmscope.errors import ModelInputError, message
from lvlmscope.tiny import captions
from lvlmscope.tiny.composed_scenes import Scene, scene
from lvlmscope.tiny.recipe import batches as dialogues
from lvlmscope.tiny.recipe.architecture import build_model, build_processor, build_tokenizer
from lvlmscope.tiny.world import CATEGORIES, SETTINGS, SYNONYMS, plural

BLIND_RATE: Final = 0.35  # language stage: share of captions without a written scene
DROP_RATE: Final = 0.12  # language stage: chance that an object is missing from the written scene
ALIGN_WEIGHT: Final = 0.2  # joint stage: weight of the alignment loss
LOG_EVERY: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One stage: what is trained (by its name), for how many steps, at which peak learning rate."""

    name: str
    steps: int
    batch: int
    rate: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Everything that determines the result, apart from library versions."""

    seed: int = 7
    scenes: int = 24000
    stages: tuple[Stage, ...] = (
        Stage(name="language", steps=500, batch=24, rate=2e-3),
        Stage(name="align", steps=1500, batch=48, rate=1.2e-3),
        Stage(name="joint", steps=800, batch=24, rate=8e-4),
        Stage(name="polish", steps=650, batch=24, rate=7e-4),
    )


@dataclass(slots=True, kw_only=True)
class Run:
    """The state of one training run."""

    recipe: Recipe
    out: Path
    model: LlavaForConditionalGeneration
    processor: LlavaProcessor
    words: Tensor
    pool: list[Scene]
    grids: np.ndarray
    curve: list[dict[str, Any]] = field(default_factory=list)

    @property
    def tokenizer(self) -> PreTrainedTokenizerFast:
        """The tokenizer."""
        tokenizer: PreTrainedTokenizerFast = self.processor.tokenizer
        return tokenizer

    def pixels(self, chosen: np.ndarray) -> Tensor:
        """Images of the chosen scenes as the processor would give them, [batch, 3, 112, 112]."""
        images = self.processor.image_processor
        data = (
            torch.from_numpy(np.stack([np.asarray(self.pool[n].image) for n in chosen])).permute(0, 3, 1, 2).float()
            / 255
        )
        mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (images.image_mean, images.image_std))
        return (data - mean) / std


def _train_scene(index: int, seed: int) -> Scene:
    return scene("train", index, seed=seed)


def compose(recipe: Recipe) -> list[Scene]:
    """The training scenes, made on two processes."""
    with ProcessPoolExecutor(2) as workers:
        made = workers.map(_train_scene, range(recipe.scenes), [recipe.seed] * recipe.scenes, chunksize=200)
        return list(tqdm(made, total=recipe.scenes, desc="scenes", smoothing=0))


def corpus(pool: list[Scene], seed: int) -> Iterator[str]:
    """Texts for the tokenizer's merges: dialogues, and every name often enough to become one token a word."""
    rng = np.random.default_rng(seed)
    for one in pool[:3000]:
        for question, answer, _ in dialogues.turns(rng, one):
            yield f"\n{question} ASSISTANT: {answer}"
    names = [
        *CATEGORIES,
        *(s for many in SYNONYMS.values() for s in many),
        *(plural(c) for c in CATEGORIES),
        *dialogues.WORDS,
    ]
    yield from (f" {name}" for name in names for _ in range(200))


def token_loss(run: Run, packed: dialogues.Batch, pixels: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Weighted cross-entropy (nats) of the answers, and the projected image tokens where there are images."""
    model = run.model
    embeds = model.get_input_embeddings()(packed.input_ids)
    projected = None
    if pixels is not None:
        projected = torch.stack(tuple(model.model.get_image_features(pixels).pooler_output))
        embeds = embeds.masked_scatter((packed.input_ids == 3).unsqueeze(-1), projected.to(embeds.dtype))
    mask = torch.zeros(packed.mask.shape).masked_fill(~packed.mask, torch.finfo(torch.bfloat16).min)
    hidden = model.model.language_model(
        inputs_embeds=embeds, attention_mask=mask, position_ids=packed.position_ids, use_cache=False
    ).last_hidden_state
    predicting = packed.labels >= 0
    logits = model.lm_head(hidden[predicting]).float()
    losses = functional.cross_entropy(logits, packed.labels[predicting], reduction="none")
    weights = packed.weights[predicting]
    return (losses * weights).sum() / weights.sum(), projected


def word_vectors(run: Run) -> Tensor:
    """The embeddings of what a patch can show, [word, hidden]."""
    weight = run.model.get_input_embeddings().weight
    assert isinstance(weight, Tensor)  # for the type checker: any module's attribute may be a module
    return weight[run.words]


def alignment_loss(run: Run, projected: Tensor, chosen: np.ndarray) -> Tensor:
    """Cross-entropy of each patch against the words' embeddings, and agreement of lengths."""
    table = word_vectors(run).detach()
    tokens = projected.float()
    logits = functional.normalize(tokens, dim=-1) @ functional.normalize(table, dim=-1).T * 16
    target = torch.from_numpy(run.grids[chosen])
    lengths = tokens.norm(dim=-1).clamp_min(1e-6).log() - table.norm(dim=-1)[target].log()
    loss: Tensor = functional.cross_entropy(logits.flatten(0, 1), target.flatten()) + 0.1 * lengths.square().mean()
    return loss


def language_step(run: Run, rng: np.random.Generator, chosen: np.ndarray) -> Tensor:
    """Loss of captions without an image and of dialogues about written-out scenes."""
    prefixes, turns = [], []
    for n in chosen:
        one = run.pool[n]
        if rng.random() < BLIND_RATE:
            prefixes.append(run.tokenizer("USER: ").input_ids)
            turns.append(
                [(str(rng.choice(captions.DESCRIBE)), captions.describe(rng, one.objects, one.boxes, one.setting), 1.0)]
            )
            continue
        grid = run.grids[n].copy()
        ground = len(CATEGORIES) + list(SETTINGS).index(one.setting)
        for name in one.present:
            if rng.random() < DROP_RATE:
                grid[grid == CATEGORIES.index(name)] = ground
        prefixes.append(dialogues.written_prefix(run.tokenizer, run.words, grid))
        turns.append(dialogues.turns(rng, one))
    return token_loss(run, dialogues.batch(run.tokenizer, prefixes, turns), None)[0]


def align_step(run: Run, _: np.random.Generator, chosen: np.ndarray) -> Tensor:
    """Loss of the patches alone."""
    features = run.model.model.get_image_features(run.pixels(chosen)).pooler_output
    return alignment_loss(run, torch.stack(tuple(features)), chosen)


def joint_step(run: Run, rng: np.random.Generator, chosen: np.ndarray) -> Tensor:
    """Loss of dialogues about images, and of their patches."""
    turns = [dialogues.turns(rng, run.pool[n]) for n in chosen]
    packed = dialogues.batch(run.tokenizer, [dialogues.image_prefix(run.tokenizer)] * len(chosen), turns)
    loss, projected = token_loss(run, packed, run.pixels(chosen))
    assert projected is not None  # pixels were given
    return loss + ALIGN_WEIGHT * alignment_loss(run, projected, chosen)


STEPS: Final[dict[str, Callable[[Run, np.random.Generator, np.ndarray], Tensor]]] = {
    "language": language_step,
    "align": align_step,
    "joint": joint_step,
    "polish": joint_step,
}


def trained_parameters(run: Run, stage: Stage) -> list[torch.nn.Parameter]:
    """Freezes what the stage leaves alone and returns the rest."""
    seeing = ("vision_tower", "multi_modal_projector")
    for name, parameter in run.model.named_parameters():
        sees = any(part in name for part in seeing)
        parameter.requires_grad_(stage.name in {"joint", "polish"} or sees == (stage.name == "align"))
    return [p for p in run.model.parameters() if p.requires_grad]


def train_stage(run: Run, number: int, state: dict[str, Any] | None) -> None:
    """Runs one stage from where `state` left it, with a one-cycle rate, checkpointing every 200 steps."""
    stage = run.recipe.stages[number]
    optimizer = torch.optim.AdamW(trained_parameters(run, stage), lr=stage.rate, weight_decay=0.02, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, stage.rate, total_steps=stage.steps + 1, pct_start=0.06)
    start = 0
    if state is not None:
        start = state["step"]
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
    bar = tqdm(range(start, stage.steps), desc=stage.name, initial=start, total=stage.steps, mininterval=5)
    began, losses = time.perf_counter(), []
    for step in bar:
        rng = np.random.default_rng([run.recipe.seed, number, step])
        chosen = rng.choice(len(run.pool), stage.batch, replace=False)
        with torch.autocast("cpu", torch.bfloat16):
            loss = STEPS[stage.name](run, rng, chosen)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(run.model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
        if (step + 1) % LOG_EVERY == 0:
            run.curve.append(
                {
                    "stage": stage.name,
                    "step": step + 1,
                    "loss": float(np.mean(losses)),
                    "seconds": time.perf_counter() - began,
                }
            )
            bar.set_postfix(loss=f"{run.curve[-1]['loss']:.3f}")
            losses = []
        if (step + 1) % 200 == 0 or step + 1 == stage.steps:
            save_checkpoint(
                run,
                {
                    "stage": number,
                    "step": step + 1,
                    "optimizer": optimizer.state_dict(),
                    "schedule": schedule.state_dict(),
                },
            )


def save_checkpoint(run: Run, state: dict[str, Any]) -> None:
    """Writes everything a resumed run needs, complete or not at all."""
    target = run.out / "checkpoint.pt"
    partial = target.with_suffix(".partial")
    torch.save(
        {**state, "model": run.model.state_dict(), "curve": run.curve, "recipe": json.dumps(asdict(run.recipe))},
        partial,
    )
    partial.replace(target)


def train(out: Path, recipe: Recipe) -> Run:
    """Runs or resumes the whole recipe and writes the model folder `out/model` and the curve `out/curve.json`."""
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(recipe.seed)
    pool = compose(recipe)
    processor = build_processor(build_tokenizer(corpus(pool, recipe.seed)))
    grids = np.stack([dialogues.patch_words(one) for one in pool])
    words = dialogues.word_ids(processor.tokenizer)
    run = Run(
        recipe=recipe, out=out, model=build_model(recipe.seed), processor=processor, words=words, pool=pool, grids=grids
    )
    state: dict[str, Any] | None = None
    if (out / "checkpoint.pt").exists():
        state = torch.load(out / "checkpoint.pt", weights_only=True)
        if json.loads(state["recipe"]) != json.loads(json.dumps(asdict(recipe))):
            got, expected = f"a checkpoint of {state['recipe']}", json.dumps(asdict(recipe))
            raise ModelInputError(message(got, expected, f"choose another folder than {out}", task="train a model"))
        run.model.load_state_dict(state["model"])
        run.curve = state["curve"]
    first = 0 if state is None else state["stage"]
    for number in range(first, len(recipe.stages)):
        resumed = state if state is not None and number == first else None
        train_stage(run, number, resumed)
    export(run)
    return run


def export(run: Run) -> None:
    """Writes the model folder in half precision, loadable with `AutoModelForImageTextToText` and `AutoProcessor`."""
    folder = run.out / "model"
    run.model.half().save_pretrained(folder)
    run.processor.save_pretrained(folder)
    (run.out / "curve.json").write_text(json.dumps({"recipe": asdict(run.recipe), "curve": run.curve}))


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=Recipe().seed)
    parser.add_argument("--threads", type=int, default=2)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    train(asked.out, Recipe(seed=asked.seed))


if __name__ == "__main__":
    main()
