"""Run as a script: a sweep that is killed again and again, then finished, beside one that is left alone.

    python tests/support/killed_sweeps.py FOLDER KILLS SEED

Children are forked from one process that has the model, so that a kill costs no start. Writes `whole/`, `killed/`, and
`log.json`: for each whole part when it was first seen whole, and when at the end.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

import lvlmscope as lv
from lvlmscope.evaluation import bundled_dataset
from lvlmscope.evaluation.sweep_tables import IMAGES


def written(folder: Path) -> dict[str, int]:
    """Whole parts with the time at which they were written."""
    return {path.name: path.stat().st_mtime_ns for path in (folder / IMAGES).glob("part-*.parquet")}


def main(home: Path, kills: int, seed: int) -> None:
    """Kills a sweep at moments drawn from the time that one needs, and finishes it."""
    torch.set_num_threads(1)  # no threads that a fork would lose
    model = lv.load("tiny", check=False)
    data = bundled_dataset("tiny-chair", n=8)
    options = {"part_size": 4, "batch_size": 4, "max_new_tokens": 8, "do_sample": True, "progress": False}
    began = time.perf_counter()
    lv.sweep(model, data, home / "whole", **options)
    needed = time.perf_counter() - began
    draws, seen, alive = random.Random(seed), {}, 0
    for _ in range(kills):
        child = os.fork()
        if child == 0:
            lv.sweep(model, data, home / "killed", **options)
            os._exit(0)
        time.sleep(draws.uniform(0, needed * 2 / kills))
        ended, _ = os.waitpid(child, os.WNOHANG)
        if not ended:
            alive += 1
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        for name, moment in written(home / "killed").items():
            seen.setdefault(name, moment)
    lv.sweep(model, data, home / "killed", **options)
    log = {"killed": alive, "seen": seen, "end": written(home / "killed")}
    (home / "log.json").write_text(json.dumps(log), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
