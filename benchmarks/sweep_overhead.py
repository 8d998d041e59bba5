"""What a sweep takes beside batched plain `generate` on the same items.

    python benchmarks/sweep_overhead.py [--threads 1] [--rounds 3] [--images 32] [--batch 8] [--width 1024]

The bundled model, or its layout with random weights of another width, on its own scenes; greedy captions of the same
length on both sides. Plain generation prepares the images, generates in left-padded batches and decodes; the sweep does
that too, replays the answers, reduces all signals that need neither gradients nor hidden states, and writes its
Parquet. Medians over rounds, and their ratio.
"""

import argparse
import copy
import statistics
import sys
import tempfile
import time

import torch
from transformers import LlavaForConditionalGeneration

import lvlmscope as lv
from lvlmscope.evaluation import bundled_dataset
from lvlmscope.evaluation.captioning import timed_answers


def wide(model: lv.LoadedModel, width: int) -> lv.LoadedModel:
    """The bundled model's layout with random weights of that hidden size, so that the model takes most of the time."""
    config = copy.deepcopy(model.model.config)
    config.text_config.update({"hidden_size": width, "intermediate_size": 4 * width, "head_dim": None})
    config.text_config.head_dim = width // config.text_config.num_attention_heads
    torch.manual_seed(0)
    made = LlavaForConditionalGeneration(config).eval()
    made.generation_config = copy.deepcopy(model.model.generation_config)
    return lv.load((made, model.processor), check=False)


def main() -> None:
    """Runs both in turn and prints medians and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=24)
    parser.add_argument("--width", type=int, default=0, help="hidden size of random weights; 0: the bundled ones")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    model = lv.load("tiny", check=False)
    model = wide(model, asked.width) if asked.width else model
    whole = bundled_dataset("tiny-chair", n=-(-asked.images // 3))
    pairs = [(item.open, "Describe the image.") for item in whole.items]
    plain, swept = [], []
    for _ in range(asked.rounds + 1):
        began = time.perf_counter()
        options = {"max_new_tokens": asked.tokens, "batch_size": asked.batch}
        timed_answers(model.model, model.processor, pairs, **options)
        plain.append(time.perf_counter() - began)
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            lv.sweep(model, whole, folder, progress=False, **options)
            swept.append(time.perf_counter() - began)
    plain, swept = plain[1:], swept[1:]  # the first round warms up
    ratio = statistics.median(swept) / statistics.median(plain)
    count = len(whole)
    sys.stdout.write(f"generate {1000 * statistics.median(plain) / count:7.1f} ms an image\n")
    sys.stdout.write(f"sweep    {1000 * statistics.median(swept) / count:7.1f} ms an image   {ratio:.2f} x generate\n")


if __name__ == "__main__":
    main()
