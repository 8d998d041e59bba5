"""An answer too long for the memory allowed: some steps at a time are replayed and reduced to signals."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from lvlmscope.capture.freed_memory import give_back_freed
from lvlmscope.capture.memory_limit import choose_keeping
from lvlmscope.capture.options import TraceOptions
from lvlmscope.capture.replay import Replay, replay_block
from lvlmscope.capture.signal_reduction import reduce_trace
from lvlmscope.capture.trace_assembly import TracedBatch, assemble_trace
from lvlmscope.decoding.generation_record import Generation, steps_between
from lvlmscope.hooks.gradient_path import cut_graph
from lvlmscope.inputs.detokenization import answer_pieces
from lvlmscope.inputs.preparation import ModelInputs
from lvlmscope.inputs.thinking_markers import recorded_answer
from lvlmscope.runtime.model_hooks import Instrumentation
from lvlmscope.traces.signal_trace import SignalTrace

__all__ = ["reduce_in_windows"]


def reduce_in_windows(
    model: Any,
    instrumentation: Instrumentation,
    prepared: ModelInputs,
    generation: Generation,
    *,
    options: TraceOptions,
    size: int,
) -> tuple[list[SignalTrace], Replay]:
    """The signals of each sample of a batch, from windows of steps whose rows are never held together.

    Each window is a block over the cache that ends before it; the tokens before it count as its prompt.

    Args:
        instrumentation: Its hooks, without interventions.
        prepared: What the batch was made from.
        generation: What to repeat.
        options: What to read; each of its signals reads a step from that step's row.
        size: Steps of a window.

    Returns:
        Signals without provenance, and the replay of the window that agrees least.

    Raises:
        ReplayError: A window's logits differ from the generated ones by more than the dtype explains.
        MemoryLimitError: The cache of this model cannot be cut.
    """
    family = instrumentation.family
    parts: list[list[SignalTrace]] = [[] for _ in generation.steps]
    worst: Replay | None = None
    for start in range(0, generation.num_steps, size):
        window = steps_between(generation, start, min(start + size, generation.num_steps))
        replay = replay_block(
            model,
            instrumentation,
            window,
            gradients=options.gradients,
            hidden_states=options.hidden_states,
            keeping=choose_keeping(model, family, window, options),
        )
        cut_graph(window.cache)
        batch = TracedBatch(model=model, family=family, prepared=prepared, generation=window, replay=replay)
        for sample, steps in enumerate(window.steps):
            parts[sample] += [_reduced(batch, sample, options)] if steps else []
        replay = replay.without_rows()
        del batch  # with its rows, before those of the next window are made
        give_back_freed()
        if worst is None or replay.agreement.difference > worst.agreement.difference:
            worst = replay
    assert worst is not None
    return [_joined(found, generation, sample, prepared) for sample, found in enumerate(parts)], worst


def _reduced(batch: TracedBatch, sample: int, options: TraceOptions) -> SignalTrace:
    return reduce_trace(assemble_trace(batch, sample, provenance={}, effects=()), options.signals)


def _joined(parts: Sequence[SignalTrace], generation: Generation, sample: int, prepared: ModelInputs) -> SignalTrace:
    first = parts[0]
    ids = generation.ids[sample, generation.prompt_length :][: generation.steps[sample]].cpu()
    # A character of several tokens may lie across two windows
    pieces = answer_pieces(ids.tolist(), prepared.processor)
    of_prompt = {name: first.provenance[name] for name in ("images", "prompt_length", "prompt_text")}
    return SignalTrace(
        values={name: np.concatenate([part.values[name] for part in parts]) for name in first.values},
        layers=first.layers,
        answer_ids=ids,
        answer_tokens=pieces,
        answer="".join(pieces),
        prompt=first.prompt,
        about=first.about,
        provenance=of_prompt | recorded_answer(ids.tolist(), prepared.processor, of_prompt["prompt_text"]),
        effects=(),
    )
