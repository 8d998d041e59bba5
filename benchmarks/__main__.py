"""Measures what lvlmscope costs, and writes docs/performance.md with its JSON.

python -m benchmarks                              all tables, on the CPU, one thread
python -m benchmarks --only counts traces         some of them; the page keeps the others
python -m benchmarks --device cuda                7B shapes with random weights, in bfloat16
python -m benchmarks --peers /path/to/python      other packages, from an environment of their own
"""

import argparse
import importlib
import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

import torch

from benchmarks.machine import machine, moment
from benchmarks.page import markdown
from benchmarks.shapes import SHAPES
from benchmarks.tables import Plan

# By name: the module; the page has them in this order
TABLES: Final = {
    "counts": "launches",
    "arithmetic": "arithmetic",
    "traces": "traces",
    "interventions": "edits",
    "batches": "batches",
    "memory": "memory",
    "long": "long_answers",
    "peers": "peers",
    "starts": "starts",
}
_ON_ACCELERATOR: Final = ("counts", "traces", "interventions", "memory")
_HOME: Final = Path(__file__).parents[1] / "docs"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and write after each table, so that an interrupted run keeps what it has."""
    options = _options(arguments)
    plan = _plan(options)
    written = json.loads(options.json.read_text(encoding="utf-8")) if options.json.exists() else {"tables": {}}
    about = machine(options.device)
    for name in options.only:
        sys.stdout.write(f"{name} ...\n")
        began = moment()
        table = importlib.import_module(f"benchmarks.{TABLES[name]}").measure(plan)
        command = shlex.join(["python", "-m", "benchmarks", *(sys.argv[1:] if arguments is None else arguments)])
        key = name if options.device == "cpu" else f"{name}, {options.device}"
        written["tables"][key] = asdict(table) | began | {"command": command, "machine": about}
        written["tables"] = dict(sorted(written["tables"].items(), key=_place))
        options.json.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")
        options.page.write_text(markdown(written), encoding="utf-8")


def _place(table: tuple[str, object]) -> tuple[int, str]:
    """Tables stand in the order above, those of an accelerator after the CPU's."""
    name, _, device = table[0].partition(", ")
    return list(TABLES).index(name), device


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=TABLES, help="tables to measure; all when left out")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--models", nargs="+", choices=SHAPES, help="shapes; llava and qwen, or llava-7b and qwen-7b")
    parser.add_argument("--rounds", type=int, default=5, help="rounds that count, after one that warms up")
    parser.add_argument("--tokens", type=int, help="new tokens of a traced answer: 48, or 128 on an accelerator")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--threads", type=int, default=1, help="threads of torch on the CPU")
    parser.add_argument("--peers", default=sys.executable, help="a Python for which other packages are installed")
    parser.add_argument("--json", type=Path, default=_HOME / "studies" / "data" / "performance.json")
    parser.add_argument("--page", type=Path, default=_HOME / "performance.md")
    options = parser.parse_args(arguments)
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: torch sees no accelerator here; leave it out to measure on the CPU")
    if options.only is None:
        options.only = list(TABLES) if options.device == "cpu" else list(_ON_ACCELERATOR)
    return options


def _plan(options: argparse.Namespace) -> Plan:
    accelerated = options.device != "cpu"
    torch.set_num_threads(options.threads)
    return Plan(
        device=options.device,
        dtype=torch.bfloat16 if accelerated else torch.float32,
        shapes=tuple(options.models or (("llava-7b", "qwen-7b") if accelerated else ("llava", "qwen"))),
        rounds=options.rounds,
        tokens=options.tokens or (128 if accelerated else 48),
        batches=tuple(options.batches),
        threads=options.threads,
        peers=options.peers,
    )


if __name__ == "__main__":
    main()
