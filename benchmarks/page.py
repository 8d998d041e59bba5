"""docs/performance.md, from what was measured."""

from collections.abc import Callable, Mapping
from typing import Any, Final

__all__ = ["markdown"]

_HEADINGS: Final = {
    "run": "",
    "wall": "wall clock",
    "wall_ratio": "x generate",
    "cpu": "processor",
    "cpu_ratio": "x generate",
    "peak": "peak beyond generate",
    "ratio": "x generate",
    "fails": "why not",
}
_SHOWN: Final[Mapping[str, Callable[[Any], str]]] = {
    "text": str,
    "s": lambda value: f"{value:.2f} s",
    "ms": lambda value: f"{1_000 * value:.1f} ms",
    "MB": lambda value: f"{round(value):,} MB",
    "x": lambda value: f"{value:.2f}",
    "count": lambda value: f"{round(value):,}",
}
_INTRODUCTION: Final = """# Performance

What lvlmscope costs beside plain `generate`, which is the floor of every table. `python -m benchmarks` measures it and
writes this page and `docs/studies/data/performance.json`, with every sample; `--only` measures some of the tables
anew. Times are medians of rounds in which all runs of a table take turns; a ratio is the median of the rounds' ratios.
The processor's time is what a run does by itself; the wall clock also counts what other programs did meanwhile.
"""
_NO_ACCELERATOR: Final = """
No accelerator was available for these tables, so nothing is said of one but the counts, which hold on any machine: a
decode step there takes about as long as its kernels take to launch, and each synchronisation stops them all.
`python -m benchmarks --device cuda` measures LLaVA-1.5-7B's and Qwen2.5-VL-7B's shapes in bfloat16 with random weights,
which are drawn on the device.
"""
_CHECKS: Final = """
## Checks of edits

An invalid edit (NaN, weight on a masked key) is refused when `generate` ends, with the intervention's name, so that no
decode step waits. To find where it is made, set `LVLMSCOPE_CHECK_EDITS=now` before the interventions are switched on:
each edit is then checked at once, which waits for the device in every layer.
"""


def markdown(measured: Mapping[str, Any]) -> str:
    """The whole page.

    Args:
        measured: What the command wrote as JSON.
    """
    tables = measured["tables"]
    accelerated = any("accelerator" in table["machine"] for table in tables.values())
    machines = list(dict.fromkeys(_machine(tables[name]) for name in tables))
    parts = [_INTRODUCTION, *([] if accelerated else [_NO_ACCELERATOR])]
    parts += [f"\n{'Machine' if len(machines) == 1 else 'Machines'}: {'; '.join(machines)}.\n"]
    parts += [_section(tables[name], several=len(machines) > 1) for name in tables]
    return "".join([*parts, _CHECKS])


def _section(table: Mapping[str, Any], *, several: bool) -> str:
    columns = {
        name: kind for name, kind in table["columns"].items() if any(row.get(name) is not None for row in table["rows"])
    }
    lines = [f"\n## {table['title']}\n", table["about"], "", _made(table, several=several), ""]
    lines.append(_line([_HEADINGS.get(name, name) for name in columns]))
    lines.append(_line(["---"] * len(columns)))
    lines += [_line([_cell(row.get(name), kind) for name, kind in columns.items()]) for row in table["rows"]]
    return "\n".join(lines) + "\n"


def _made(table: Mapping[str, Any], *, several: bool) -> str:
    """Command, moment and load, and the machine where the page has several."""
    where = f" on {_machine(table)}" if several else ""
    return f"`{table['command']}`, {table['when']}{where}, load {table['load']:g} when it began."


def _machine(table: Mapping[str, Any]) -> str:
    """Machine and versions."""
    machine = table["machine"]
    where = f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gb']:g} GB"
    where = f"{machine['accelerator']} beside {where}" if "accelerator" in machine else where
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return f"{where}, Python {machine['python']}, {versions}"


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _cell(value: Any, kind: str) -> str:
    return "" if value is None else _SHOWN[kind](value).replace("|", "\\|")
