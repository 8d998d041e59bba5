"""Faults planted one at a time by cosmic-ray in a copy of the package, and the share that the narrow tests notice.

    python -m pip install cosmic-ray==8.7.0     # in any environment: it only rewrites files
    python -m tests.support.mutation --mutants 100 --seed 0 --cosmic-ray PATH > mutants.txt
    python -m tests.support.mutation --survivors-of mutants.txt --cosmic-ray PATH

The working tree is not touched. The tests and doctests of the core rooms run once without a fault, to find which
functions each reaches, and how long it takes; `--known` keeps that. Then each mutant meets the tests that reach its
function, the fastest first, and only what these do not notice meets the others of their files, and those of set-up and
removal.
"""

import argparse
import ast
import os
import random
import re
import shutil
import sqlite3
import subprocess
import tarfile
import tempfile
import time
import tokenize
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Final

from tests.support.mutation_session import Collected, run_session

ROOMS: Final = (
    *("lvlmscope/attention", "lvlmscope/hooks", "lvlmscope/runtime", "lvlmscope/traces", "lvlmscope/capture"),
    *("interventions", "diagnostics", "lvlmscope/risk"),
)
# One fault a place that a person might make: a boundary, a sign, a negation, a constant, a step left out
OPERATORS: Final = re.compile(
    r"core/(NumberReplacer|AddNot|ReplaceTrueWithFalse|ReplaceFalseWithTrue|ReplaceAndWithOr|ReplaceOrWithAnd|"
    r"ReplaceComparisonOperator_(Lt_LtE|LtE_Lt|Gt_GtE|GtE_Gt|Eq_NotEq|NotEq_Eq|Is_IsNot|IsNot_Is)|"
    r"ReplaceBinaryOperator_(Add_Sub|Sub_Add|Mul_Div|Div_Mul|BitAnd_BitOr|BitOr_BitAnd)|"
    r"ReplaceUnaryOperator_Delete_(Not|USub|Invert)|ReplaceBreakWithContinue|ReplaceContinueWithBreak|"
    r"ExceptionReplacer|ZeroIterationForLoop)"
)


@dataclass(frozen=True, order=True)
class Mutant:
    """One fault.

    Attributes:
        module: Path of the module in the repository.
        line: Where the fault is.
        column: Likewise.
        operator: Name of cosmic-ray's operator.
        occurrence: Which of the places in the module where it applies.
    """

    module: str
    line: int
    column: int
    operator: str
    occurrence: int


def copied(folder: Path, commit: str) -> None:
    """A commit in a folder of its own."""
    archive = folder / "head.tar"
    subprocess.run(["git", "archive", "-o", archive, commit], check=True)
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="tar")
    archive.unlink()


def every_mutant(folder: Path, cosmic_ray: str) -> list[Mutant]:
    """What cosmic-ray can plant in the core rooms, one fault a place, outside the hints and stars of signatures."""
    rooms = ", ".join(f'"{room}"' for room in ROOMS)
    settings = f'[cosmic-ray]\nmodule-path = [{rooms}]\ntimeout = 60.0\nexcluded-modules = []\ntest-command = ""\n'
    (folder / "cosmic-ray.toml").write_text(settings + '[cosmic-ray.distributor]\nname = "local"\n')
    command = [cosmic_ray, "init", "cosmic-ray.toml", "mutants.sqlite"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    columns = "module_path, start_pos_row, start_pos_col, operator_name, occurrence"
    with sqlite3.connect(folder / "mutants.sqlite") as database:
        found = sorted(Mutant(*row) for row in database.execute(f"select {columns} from mutation_specs"))
    written = {module: folder / module for module in {each.module for each in found}}
    signatures = {module: {*_annotated(file), *_marked(file)} for module, file in written.items()}
    places: dict[tuple[str, int, int], Mutant] = {}
    for each in found:
        if OPERATORS.fullmatch(each.operator) and (each.line, each.column) not in signatures[each.module]:
            places.setdefault((each.module, each.line, each.column), each)
    return list(places.values())


def _annotated(module: Path) -> Iterator[tuple[int, int]]:
    """Lines and columns inside annotations: ``int | None`` is no computation."""
    lines = module.read_text().splitlines()
    for node in ast.walk(ast.parse(module.read_text())):
        for hint in (getattr(node, "annotation", None), getattr(node, "returns", None)):
            for line in range(hint.lineno, (hint.end_lineno or hint.lineno) + 1) if hint is not None else ():
                first = hint.col_offset if line == hint.lineno else 0
                last = hint.end_col_offset if line == hint.end_lineno else len(lines[line - 1])
                yield from ((line, column) for column in range(first, (last or 0) + 1))


def _marked(module: Path) -> Iterator[tuple[int, int]]:
    """Lines and columns of the stars before parameters that must be named: they multiply nothing."""
    with module.open("rb") as file:
        for one, following in pairwise(tokenize.tokenize(file.readline)):
            if (one.string, following.string) == ("*", ","):
                yield one.start


def mutated(folder: Path, mutant: Mutant, cosmic_ray: str) -> tuple[str, str]:
    """The module's text with the fault, and the changed line."""
    file = folder / mutant.module
    original = file.read_text()
    command = [cosmic_ray, "apply", mutant.module, mutant.operator, str(mutant.occurrence)]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    text = file.read_text()
    file.write_text(original)
    pairs = zip(original.splitlines(), text.splitlines(), strict=False)
    return text, next((f"{a.strip()}  ->  {b.strip()}" for a, b in pairs if a != b), "(unchanged)")


def drawn(possible: list[Mutant], given: argparse.Namespace) -> list[Mutant]:
    """The mutants to try: a sample, or what an earlier run did not notice."""
    if given.survivors_of is None:
        return random.Random(given.seed).sample(possible, given.mutants)
    lines = given.survivors_of.read_text().splitlines()
    places = {line.split()[1] for line in lines if line.startswith("SURVIVED")}
    return [each for each in possible if f"{each.module}:{each.line}:{each.column}:" in places]


def options() -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mutants", type=int, default=100, help="how many, drawn at random")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--survivors-of", type=Path, help="an earlier run's output: try again what it did not notice")
    parser.add_argument("--seconds", type=int, default=60, help="processor time of each one's tests")
    parser.add_argument("--minutes", type=float, default=60, help="no mutant is begun later")
    parser.add_argument("--commit", default="HEAD", help="what is judged; the same for all runs with one --known")
    parser.add_argument("--known", type=Path, help="file to keep what each test reaches in, for later runs")
    parser.add_argument(
        "--rooms-alone", action="store_true", help="only the rooms' own tests, without tests/contract and tests/hostile"
    )
    parser.add_argument("--cosmic-ray", default=shutil.which("cosmic-ray") or "cosmic-ray")
    return parser.parse_args()


def judge(folder: Path, given: argparse.Namespace, tests: Collected) -> None:
    """Plant, test, report."""
    tests.follow(given.known or folder / "reach.jsonl")
    failing = [each.test for each in tests.reach.values() if not each.passed]
    print(f"{len(tests.reach)} tests; without a fault fail: {failing}", flush=True)  # noqa: T201
    noticed: Counter[str] = Counter()
    tried: Counter[str] = Counter()
    possible = every_mutant(folder, given.cosmic_ray)
    end = time.monotonic() + 60 * given.minutes
    for each in drawn(possible, given):
        if time.monotonic() > end:
            break
        text, line = mutated(folder, each, given.cosmic_ray)
        test = tests.failing(each.module, each.line, text, given.seconds)
        room = str(Path(each.module).parent)
        tried[room] += 1
        noticed[room] += test is not None
        verdict = "SURVIVED" if test is None else "noticed "
        print(f"{verdict} {each.module}:{each.line}:{each.column}: {line}  [{test}]", flush=True)  # noqa: T201
    for room in ROOMS:
        print(f"{room}: {noticed[room]} of {tried[room]}")  # noqa: T201
    total = sum(tried.values())
    share = sum(noticed.values()) / max(total, 1)
    print(f"noticed {sum(noticed.values())} of {total} ({share:.0%}); {len(possible)} are possible", flush=True)  # noqa: T201


def main() -> None:
    """Copy a commit and judge its tests."""
    given = options()
    for name in ("known", "survivors_of"):
        if (path := getattr(given, name)) is not None:
            setattr(given, name, path.resolve())
    os.environ.update(OMP_NUM_THREADS="1", PYTHONDONTWRITEBYTECODE="1")
    import transformers.models.llava.modeling_llava  # loaded once for all forks

    del transformers
    with tempfile.TemporaryDirectory(prefix="mutation-") as name:
        folder = Path(name).resolve()
        copied(folder, given.commit)
        rooms = [f"{top}/{Path(room).name}" for top in ("tests", "lvlmscope") for room in ROOMS]  # tests and doctests
        others = [] if given.rooms_alone else ["tests/contract", "tests/hostile"]
        run_session(folder, [*rooms, *others], partial(judge, folder, given))


if __name__ == "__main__":
    main()
