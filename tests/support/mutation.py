"""Faults planted one at a time by cosmic-ray in a copy of the package, and the share that the narrow tests notice.

    python -m pip install cosmic-ray==8.7.0     # in any environment: it only rewrites files
    python -m tests.support.mutation --mutants 100 --seed 0 --cosmic-ray PATH

The working tree is not touched. Each mutant's tests run in a forked process that has the heavy libraries loaded: first
the test files that import the mutated module, then the others of its room and the contract of interventions, until one
fails or the processor time is spent.
"""

import argparse
import ast
import os
import random
import re
import resource
import shutil
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOMS: Final = (
    *("lvlmscope/attention", "lvlmscope/hooks", "lvlmscope/runtime", "lvlmscope/capture", "interventions"),
    *("diagnostics", "lvlmscope/risk"),
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


def copied(folder: Path) -> None:
    """The last commit in a folder of its own."""
    archive = folder / "head.tar"
    subprocess.run(["git", "archive", "-o", archive, "HEAD"], check=True)
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="tar")
    archive.unlink()


def every_mutant(folder: Path, cosmic_ray: str) -> list[Mutant]:
    """What cosmic-ray can plant in the core rooms, at most one fault a place, outside annotations."""
    rooms = ", ".join(f'"{room}"' for room in ROOMS)
    settings = f'[cosmic-ray]\nmodule-path = [{rooms}]\ntimeout = 60.0\nexcluded-modules = []\ntest-command = ""\n'
    (folder / "cosmic-ray.toml").write_text(settings + '[cosmic-ray.distributor]\nname = "local"\n')
    command = [cosmic_ray, "init", "cosmic-ray.toml", "mutants.sqlite"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    columns = "module_path, start_pos_row, start_pos_col, operator_name, occurrence"
    with sqlite3.connect(folder / "mutants.sqlite") as database:
        found = sorted(Mutant(*row) for row in database.execute(f"select {columns} from mutation_specs"))
    annotations = {module: set(_annotated(folder / module)) for module in {each.module for each in found}}
    places: dict[tuple[str, int, int], Mutant] = {}
    for each in found:
        if OPERATORS.fullmatch(each.operator) and (each.line, each.column) not in annotations[each.module]:
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


def narrow_tests(folder: Path, module: str) -> list[str]:
    """Test files for a module: those that import it, its room's, and the contract of interventions."""
    path = Path(module)
    room, dotted = path.parent.name, ".".join(path.with_suffix("").parts)
    dotted = dotted if dotted.startswith("lvlmscope") else f"lvlmscope.{dotted}"
    files = sorted((folder / "tests").glob("*/test_*.py"), key=lambda file: file.stat().st_size)
    mirrored = [file for file in files if file.parent.name == room]
    importing = [file for file in files if f"{dotted} " in file.read_text()]
    named = [file for file in mirrored if path.stem in file.stem]
    contract = [folder / "tests/contract/test_interventions.py", folder / "tests/contract/test_rows_as_generated.py"]
    chosen = dict.fromkeys([*named, *(f for f in importing if f in mirrored), *importing, *mirrored, *contract])
    seen = module if module.startswith("lvlmscope") else f"lvlmscope/{module}"  # through the link
    return [
        *map(str, chosen),
        str(folder / seen),
    ]  # its doctests last: pytest would import a linked module a second time


def tests_fail(folder: Path, tests: list[str], seconds: int) -> bool:
    """Whether a test fails, in a process forked from this one, before its processor time is spent."""
    child = os.fork()
    if child == 0:
        try:
            os._exit(_run_tests(folder, tests, seconds))
        finally:  # an error here must not unwind the parent's code
            traceback.print_exc()
            os._exit(70)
    status = os.waitpid(child, 0)[1]
    code = os.waitstatus_to_exitcode(status)
    if code == 70:
        raise RuntimeError((folder / "tests.log").read_text())
    return code > 0  # negative: the time was spent


def require_passing(folder: Path, module: str, seconds: int, known: dict[str, bool]) -> None:
    """Refuse a module whose tests fail without a fault: each of its faults would count as noticed."""
    if module not in known:
        known[module] = not tests_fail(folder, narrow_tests(folder, module), seconds)
    if not known[module]:
        raise RuntimeError(f"the tests of {module} fail without a fault:\n{(folder / 'tests.log').read_text()[-3000:]}")


def _run_tests(folder: Path, tests: list[str], seconds: int) -> int:
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
    with (folder / "tests.log").open("w") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    here = str(Path.cwd())
    sys.path[:] = [str(folder), *(each for each in sys.path if each not in ("", here))]
    os.chdir(folder)
    for name in [name for name in sys.modules if name.partition(".")[0] in ("tests", "lvlmscope", "conftest")]:
        del sys.modules[name]
    import pytest

    # Libraries that are loaded before pytest are no tests to rewrite
    options = ["-q", "-x", "-n", "0", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
    return int(pytest.main([*options, *tests]))


def judged(folder: Path, mutant: Mutant, cosmic_ray: str, seconds: int) -> tuple[bool, str]:
    """Whether the tests notice a mutant, and its changed line."""
    file = folder / mutant.module
    original = file.read_text()
    command = [cosmic_ray, "apply", mutant.module, mutant.operator, str(mutant.occurrence)]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    try:
        pairs = zip(original.splitlines(), file.read_text().splitlines(), strict=False)
        line = next((f"{a.strip()}  ->  {b.strip()}" for a, b in pairs if a != b), "(unchanged)")
        return tests_fail(folder, narrow_tests(folder, mutant.module), seconds), line
    finally:
        file.write_text(original)


def main() -> None:
    """Plant, test, report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mutants", type=int, default=100, help="how many, drawn at random")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=int, default=60, help="processor time of each one's tests")
    parser.add_argument("--minutes", type=float, default=60, help="no mutant is begun later")
    parser.add_argument("--cosmic-ray", default=shutil.which("cosmic-ray") or "cosmic-ray")
    given = parser.parse_args()
    os.environ.update(OMP_NUM_THREADS="1", PYTHONDONTWRITEBYTECODE="1")
    import transformers.models.llava.modeling_llava  # loaded once for all forks

    del transformers
    end = time.monotonic() + 60 * given.minutes
    with tempfile.TemporaryDirectory(prefix="mutation-") as name:
        folder = Path(name)
        copied(folder)
        possible = every_mutant(folder, given.cosmic_ray)
        drawn = random.Random(given.seed).sample(possible, given.mutants)
        noticed: Counter[str] = Counter()
        tried: Counter[str] = Counter()
        passing: dict[str, bool] = {}
        for each in drawn:
            if time.monotonic() > end:
                break
            require_passing(folder, each.module, given.seconds, passing)
            killed, line = judged(folder, each, given.cosmic_ray, given.seconds)
            room = str(Path(each.module).parent)
            tried[room] += 1
            noticed[room] += killed
            print(f"{'noticed ' if killed else 'SURVIVED'} {each.module}:{each.line}: {line}", flush=True)  # noqa: T201
    for room in ROOMS:
        print(f"{room}: {noticed[room]} of {tried[room]}")  # noqa: T201
    total = sum(tried.values())
    share = sum(noticed.values()) / max(total, 1)
    print(f"noticed {sum(noticed.values())} of {total} ({share:.0%}); {len(possible)} are possible")  # noqa: T201


if __name__ == "__main__":
    main()
