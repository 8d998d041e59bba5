"""One session from import to the first figure; prints what each stage took. Imports the standard library only."""

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

FLOOR: Final = "generate, 24 tokens"


def _run(threads: int) -> dict[str, tuple[float, float]]:
    """What one process takes for each stage; nothing but the standard library is imported before."""
    found: dict[str, tuple[float, float]] = {}
    made: dict[str, Any] = {}

    def stage(name: str, run: Callable[[], Any]) -> None:
        wall, cpu = time.perf_counter(), time.process_time()
        made[name] = run()
        found[name] = time.perf_counter() - wall, time.process_time() - cpu

    stage("import lvlmscope", lambda: __import__("lvlmscope"))
    stage("import torch and transformers", _libraries)
    import lvlmscope as lv
    from lvlmscope.tiny import scene

    sys.modules["torch"].set_num_threads(threads)
    image, prompt = scene("neutral", 0).image, "Describe the image."
    stage("load", lambda: lv.load("tiny"))
    loaded = made["load"]
    turns = [{"role": "user", "content": [{"type": "image", "image": image}, {"type": "text", "text": prompt}]}]
    text = loaded.processor.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    inputs = loaded.processor(images=[image], text=[text], return_tensors="pt")
    options: dict[str, Any] = {"max_new_tokens": 24, "min_new_tokens": 24, "do_sample": False}
    loaded.model.generate(**inputs, **options)
    stage(FLOOR, lambda: loaded.model.generate(**inputs, **options))
    stage("trace, 24 tokens", lambda: lv.trace(loaded, image, prompt, progress=False, **options))
    trace = made["trace, 24 tokens"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace"
        stage("save", lambda: trace.save(path))
        stage("load the trace", lambda: lv.Trace.load(path))
        read = made["load the trace"]
        stage("first figure", lambda: lv.plot.overlay(read, 1))
        stage("the same figure again", lambda: lv.plot.overlay(read, 1))
    return found


def _libraries() -> None:
    __import__("torch")
    from transformers import LlavaForConditionalGeneration

    _ = LlavaForConditionalGeneration


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_run(int(sys.argv[1]))) + "\n")
