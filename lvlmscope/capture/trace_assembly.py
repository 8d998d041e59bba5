"""One sample's trace out of a replayed batch: padding cut away, axes in order, positions named."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from lvlmscope.capture.replay import Replay
from lvlmscope.decoding.generation_record import Generation
from lvlmscope.inputs.detokenization import alternative_pieces, answer_pieces, collapsed_prompt, prompt_pieces
from lvlmscope.inputs.preparation import ModelInputs
from lvlmscope.inputs.thinking_markers import recorded_answer
from lvlmscope.models.families import Family
from lvlmscope.traces.image_identity import describe_images
from lvlmscope.traces.token_layout import Kind, Layout
from lvlmscope.traces.trace import Trace

__all__ = ["TracedBatch", "assemble_trace"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TracedBatch:
    """Everything one generation and its replay gave.

    Attributes:
        model: The bare model.
        family: Its family's rules.
        prepared: What the batch was made from.
        generation: The batch's generation.
        replay: Its replay.
    """

    model: torch.nn.Module
    family: Family
    prepared: ModelInputs
    generation: Generation
    replay: Replay


def assemble_trace(
    batch: TracedBatch, sample: int, *, provenance: dict[str, Any], effects: tuple[dict[str, Any], ...]
) -> Trace:
    """The trace of one sample of a batch.

    Args:
        batch: Generation and replay.
        sample: Index in the batch.
        provenance: JSON values to keep.
        effects: Reports of the interventions that were on.

    Returns:
        The trace.
    """
    prepared, generation, replay = batch.prepared, batch.generation, batch.replay
    source = prepared.samples[sample] if prepared.samples else None
    steps = generation.steps[sample]
    padding = int((prepared.inputs["attention_mask"][sample] == 0).sum())
    end = generation.prompt_length + steps - 1
    ids = generation.ids[sample, padding:].cpu()
    prompt_length = generation.prompt_length - padding
    seen = {layer: keys[sample] for layer, keys in replay.seen.items()}
    layout = _layout(batch, sample, ids[:prompt_length], steps, seen=next(iter(seen.values()), None))
    image = layout.keys_of("image")
    answer_ids = ids[prompt_length : prompt_length + steps]
    pieces = answer_pieces(answer_ids.tolist(), prepared.processor)
    outside = len(layout.kinds) - (end - padding)
    in_text = image[outside:][:prompt_length].tolist()
    prompt_texts = prompt_pieces(ids[:prompt_length].tolist(), in_text, prepared.processor)
    prompt_texts = ("<image>",) * outside + prompt_texts
    held = torch.arange(end) if replay.columns is None else replay.columns
    own = (held >= padding) & (held < end)
    texts = prompt_texts + pieces[:-1]
    if replay.columns is not None:
        # Another sample of the batch may have an image where this one has words
        positions = held - padding + outside
        wanted = torch.tensor([kind in ("image", "answer") for kind in layout.kinds], dtype=torch.bool)
        own &= wanted[positions.clamp(0, len(wanted) - 1)]
        chosen_keys = [*range(outside), *positions[own].tolist()]
        layout, texts = layout.select(chosen_keys), tuple(texts[key] for key in chosen_keys)
    cut = partial(_stacked, sample=sample, steps=steps, columns=own.nonzero().flatten(), seen=seen)
    chosen, mixed = replay.probabilities, replay.mixed
    prompt_text = source.text if source else collapsed_prompt(prompt_texts[outside:], in_text)
    return Trace(
        attention=cut(replay.attention),
        gradient=None if replay.gradient is None else cut(replay.gradient),
        hidden_states=None if replay.hidden is None else replay.hidden[sample, :steps],
        image_scores=torch.stack([scores[sample, :steps] for scores in replay.image_scores.values()], 1),
        layer_indices=tuple(replay.attention),
        answer_ids=answer_ids,
        log_probs=chosen.log_probs[sample, :steps],
        entropy=chosen.entropy[sample, :steps],
        margin=chosen.margin[sample, :steps],
        top_ids=chosen.top_ids[sample, :steps],
        top_log_probs=chosen.top_log_probs[sample, :steps],
        mixed_log_probs=None if mixed is None else mixed.log_probs[sample, :steps],
        mixed_top_ids=None if mixed is None else mixed.top_ids[sample, :steps],
        mixed_top_log_probs=None if mixed is None else mixed.top_log_probs[sample, :steps],
        layout=layout,
        tokens=texts,
        answer_tokens=pieces,
        top_tokens=alternative_pieces(
            chosen.top_ids[sample, :steps].tolist(), ids[prompt_length - 1 :][:steps].tolist(), prepared.processor
        ),
        prompt=source.prompt if source else "".join(prompt_texts),
        answer="".join(pieces),
        images=source.images if source else (),
        kept_keys="all" if replay.columns is None else "image_answer",
        provenance=provenance
        | {"images": describe_images(source.images, source.names) if source else [], "prompt_length": prompt_length}
        | {"prompt_text": prompt_text}
        | recorded_answer(answer_ids.tolist(), prepared.processor, prompt_text),
        effects=effects,
    )


def _stacked(
    layers: dict[int, torch.Tensor], sample: int, steps: int, columns: torch.Tensor, seen: dict[int, torch.Tensor]
) -> torch.Tensor:
    """``[step, layer, head, key]`` of one sample, padding columns and columns after its own end cut away.

    Image keys that only cross-attention layers see come first; each layer is 0 on the keys that it does not have.
    """
    outside = max((int(keys.sum()) for keys in seen.values()), default=0)
    first = next(iter(layers.values()))
    start, stop = int(columns[0]) if len(columns) else 0, int(columns[-1]) + 1 if len(columns) else 0
    together: torch.Tensor | slice = slice(start, stop) if stop - start == len(columns) else columns
    # Filled in place: a list to stack would hold everything a third time
    whole = first.new_zeros(steps, len(layers), first.shape[2], outside + len(columns))
    for place, (layer, values) in enumerate(layers.items()):
        own = values[sample, :steps]
        if layer in seen:
            whole[:, place, :, :outside] = own[..., seen[layer]]
        else:
            whole[:, place, :, outside:] = own[..., together]
    return whole


def _layout(
    batch: TracedBatch, sample: int, prompt_ids: torch.Tensor, steps: int, *, seen: torch.Tensor | None
) -> Layout:
    model, family, prepared = batch.model, batch.family, batch.prepared
    mask = family.image_mask(model, prompt_ids.unsqueeze(0))[0]
    keys = mask.nonzero().flatten()
    first = int(keys[0]) if len(keys) else 0
    outside: list[Kind] = []
    if seen is not None:
        keys = torch.arange(int(seen.sum()))
        outside = ["image"] * len(keys)
    source = prepared.samples[sample] if prepared.samples else None
    sizes = [image.size for image in source.images] if source else []
    inputs = source.inputs if source else family.sample_inputs(model, prepared.inputs, sample)
    images = family.image_layouts(model, keys, inputs, processor=prepared.processor, sizes=sizes)
    prompt: list[Kind] = [
        "image" if is_image else "system" if number < first else "question"
        for number, is_image in enumerate(mask.tolist())
    ]
    answer: list[Kind] = ["answer"] * (steps - 1)
    return Layout(kinds=tuple(outside + prompt + answer), images=images)
