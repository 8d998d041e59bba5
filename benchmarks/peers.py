"""What other packages give of the same model and answer, with time and memory, or why they give nothing.

Each runs in a process of its own, with a Python that it is installed for: none of them is needed otherwise. The model
is the random LLaVA. Its answer is given, and each package reads attention, or gradients, of a forward over both; only
lvlmscope generates it as well.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import torch

from benchmarks.shapes import Prepared, build
from benchmarks.tables import Plan, Table
from benchmarks.timing import in_turn, timing_row

__all__ = ["PEERS", "measure"]

FLOOR: Final = "generate"
SHAPE: Final = "llava"
_FIRST: Final = 4  # tokens for which a backward each is run


class _Given:
    """A model, its inputs and its answer."""

    def __init__(self, prepared: Prepared, tokens: int) -> None:
        self.model, self.inputs, self.tokens = prepared.model, prepared.inputs, tokens
        self.options: dict[str, Any] = {"max_new_tokens": tokens, "min_new_tokens": tokens, "do_sample": False}
        self.ids = self.model.generate(**self.inputs, **self.options)
        self.whole = self.inputs | {"input_ids": self.ids, "attention_mask": torch.ones_like(self.ids)}

    def eager(self) -> None:
        """Attention weights as tensors: what hooks on modules can read."""
        self.model.set_attn_implementation("eager")

    def sdpa(self) -> None:
        """The kernel of plain generation."""
        self.model.set_attn_implementation("sdpa")


def _lvlmscope(given: _Given) -> Callable[[], Any]:
    import lvlmscope as lv

    def run() -> Any:
        return lv.trace_inputs(given.model, given.inputs, gradients=True, progress=False, **given.options)

    return run


def _vl_saliency(given: _Given) -> Callable[[], Any]:
    from vl_saliency import SaliencyExtractor  # type: ignore[import-not-found,unused-ignore]

    given.eager()
    given.model.get_input_embeddings().weight.requires_grad_(requires_grad=True)
    processor = SimpleNamespace(tokenizer=SimpleNamespace(pad_token_id=0))
    extractor = SaliencyExtractor(given.model, processor)
    return lambda: extractor.capture(generated_ids=given.ids, **given.inputs)


def _nnsight(given: _Given) -> Callable[[], Any]:
    from nnsight import NNsight  # type: ignore[import-not-found,unused-ignore]

    given.eager()
    wrapped = NNsight(given.model)

    def run() -> Any:
        kept: Any = None
        with wrapped.trace(**given.whole, output_attentions=True):
            kept = []
            for layer in wrapped.model.language_model.layers:
                kept.append(layer.self_attn.output[1].save())
            kept.save()
        return kept

    return run


def _transformer_lens(given: _Given) -> Callable[[], Any]:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import PreTrainedTokenizerFast

    given.model.config.architectures = [type(given.model).__name__]
    given.eager()
    names = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<unk>"}
    words = Tokenizer(WordLevel({"<unk>": 0, "<s>": 1, "</s>": 2}, unk_token="<unk>"))
    with tempfile.TemporaryDirectory() as folder:  # it reads the tokenizer once more, from its folder
        PreTrainedTokenizerFast(tokenizer_object=words, **names).save_pretrained(folder)
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
        bridge = TransformerBridge.boot_transformers(SHAPE, hf_model=given.model, device="cpu", tokenizer=tokenizer)
    pixels = given.inputs["pixel_values"]

    def run() -> Any:
        return bridge.run_with_cache(
            given.ids, pixel_values=pixels, names_filter=lambda name: name.endswith("hook_pattern")
        )

    return run


def _captum(given: _Given) -> Callable[[], Any]:
    from captum.attr import InputXGradient

    words = given.model.get_input_embeddings()
    hidden = words(given.ids)
    mask = (given.ids == given.model.config.image_token_id).unsqueeze(-1)
    seen = given.model.model.get_image_features(pixel_values=given.inputs["pixel_values"]).pooler_output
    embedded = hidden.masked_scatter(mask, torch.cat(list(seen)).to(hidden.dtype))
    start = given.inputs["input_ids"].shape[1]

    def logits(embeddings: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = given.model(inputs_embeds=embeddings, logits_to_keep=1).logits[:, -1]
        return found

    def run() -> Any:
        return [
            InputXGradient(logits).attribute(embedded[:, : start + step], target=int(given.ids[0, start + step]))
            for step in range(_FIRST)
        ]

    return run


def _vlmprobe(given: _Given) -> Callable[[], Any]:
    from vlmprobe import Prober  # type: ignore[import-not-found,unused-ignore]

    given.eager()
    probe = Prober(given.model).attention.profile(include_attention=True)
    return lambda: probe.run(given.whole)


# By package: how it is run, and what it gives
PEERS: Final[Mapping[str, tuple[Callable[[_Given], Callable[[], Any]], str]]] = {
    "lvlmscope": (_lvlmscope, "the answer, attention and gradients of every token's own loss, predicting rows"),
    "vl-saliency": (_vl_saliency, "attention and one gradient of the summed loss, image keys of generated rows"),
    "nnsight": (_nnsight, "attention of all rows"),
    "transformer-lens": (_transformer_lens, "attention of all rows, of the image encoder, too"),
    "captum": (_captum, f"input x gradient of the first {_FIRST} tokens, by prompt token; no attention"),
    "vlmprobe": (_vlmprobe, "attention of all rows, and its mass on groups of tokens"),
}


def measure(plan: Plan) -> Table:
    """Seconds and memory of each package.

    Args:
        plan: What to run.
    """
    floor = _in_own_process(plan, FLOOR)
    rows = [{"run": FLOOR, "gives": "the answer"} | floor | {"peak": 0.0}]
    for name, (_, gives) in PEERS.items():
        found = _in_own_process(plan, name)
        if "peak" in found:
            found["peak"] -= floor["peak"]
        rows.append({"run": name, "gives": gives} | found)
    return Table(
        title="Other packages",
        about=f"The random LLaVA and its answer of {plan.tokens} tokens, batch 1; seconds beside those of `generate` "
        "in the same process; each package gets the answer, lvlmscope makes it, too. Memory is the "
        "resident peak of the process beyond that of one that only generates. "
        "Versions are those that the registry gave for the same torch and transformers.",
        columns={"run": "text", "version": "text", "gives": "text", "wall": "s", "wall_ratio": "x", "cpu": "s"}
        | {"cpu_ratio": "x", "peak": "MB", "fails": "text"},
        rows=rows,
    )


def _in_own_process(plan: Plan, name: str) -> dict[str, Any]:
    """What one package's process prints; the last line of its errors where it ends without."""
    python = sys.executable if name in {FLOOR, "lvlmscope"} else plan.peers
    command = [python, "-m", "benchmarks.peers", name, str(plan.tokens), str(plan.rounds), str(plan.threads)]
    # Nothing is looked up: one of them would install packages by itself
    alone = os.environ | {"HF_HUB_OFFLINE": "1", "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "", "UV_OFFLINE": "1"}
    ended = subprocess.run(  # noqa: S603 - the interpreter that the command was given
        command, cwd=Path(__file__).parents[1], env=alone, capture_output=True, text=True, check=False
    )
    try:
        found: dict[str, Any] = json.loads(ended.stdout.strip().splitlines()[-1])
    except (IndexError, ValueError):
        lines = ended.stderr.strip().splitlines() or [f"ended with {ended.returncode}"]
        return {"fails": lines[-1][:200]}
    return found


def _run_one(name: str, tokens: int, rounds: int, threads: int) -> dict[str, Any]:
    torch.set_num_threads(threads)
    given = _Given(build(SHAPE), tokens)

    def floor() -> Any:
        given.sdpa()
        return given.model.generate(**given.inputs, **given.options)

    variants: dict[str, Callable[[], Any]] = {FLOOR: floor}
    if name != FLOOR:
        run = PEERS[name][0](given)
        needs_eager = given.model.config._attn_implementation == "eager"  # noqa: SLF001 - no other way to read it

        def own() -> Any:
            given.model.set_attn_implementation("eager" if needs_eager else "sdpa")
            return run()

        variants[name] = own
    times = in_turn(variants, rounds)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1_024 / 1e6
    version = metadata.version("transformers" if name == FLOOR else name)
    return timing_row(times[name], times[FLOOR]) | {"peak": peak, "version": version}


if __name__ == "__main__":
    _name, *_numbers = sys.argv[1:]
    sys.stdout.write(json.dumps(_run_one(_name, *map(int, _numbers))) + "\n")
