"""One pytest session that has collected the tests of the core rooms: each fork of it runs some of them on one fault.

What is imported once serves all mutants: in the fork the code of the changed functions is put in place of the old.
"""

import ast
import gc
import hashlib
import importlib.abc
import inspect
import json
import os
import resource
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from types import CodeType, FrameType, FunctionType
from typing import Any, Final

import pytest

__all__ = ["Collected", "Reach", "run_session"]

# Faults of set-up and removal: many runs of the same functions, so they come last and are not followed
UNFOLLOWED: Final = "tests/hostile/"
# What takes longer is left out, but for options and wrong arguments, each of which is tried once
MET: Final = ("-m", "not slow or met")
# Tests that read the package's source or its signatures instead of running it
READING: Final = ("tests/contract/test_dataclasses.py", "tests/contract/test_defaults.py")
# What set-up and removal are in
INSTRUMENTED: Final = ("hooks", "runtime", "capture")


@dataclass(frozen=True)
class Reach:
    """What one test did without a fault.

    Attributes:
        test: Its name.
        source: Digest of its file.
        passed: Whether it passed.
        seconds: What it took.
        functions: The functions of the package that ran: file and first line.
    """

    test: str
    source: str
    passed: bool
    seconds: float
    functions: tuple[str, ...]


def run_session(folder: Path, tests: Iterable[str], work: Callable[["Collected"], None]) -> None:
    """Collect tests in a copy of the repository, and do the work instead of running them.

    Args:
        folder: The copy.
        tests: Its folders with tests.
        work: Given the session's tests.
    """
    here = str(Path.cwd())
    sys.path[:] = [str(folder), *(each for each in sys.path if each not in ("", here))]
    os.chdir(folder)
    for name in [name for name in sys.modules if name.partition(".")[0] in ("tests", "lvlmscope", "conftest")]:
        del sys.modules[name]

    class Plugin:
        @pytest.hookimpl(tryfirst=True)
        def pytest_runtestloop(self, session: pytest.Session) -> bool:
            if session.testsfailed:
                raise RuntimeError("some tests cannot be imported")
            work(Collected(folder, session.items))
            return True

    # Libraries that are loaded before pytest are no tests to rewrite; output goes to the log of each fork
    options = ["-q", "-s", "-n", "0", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning", *MET]
    code = pytest.main([*options, *tests], plugins=[Plugin()])
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        raise RuntimeError(f"pytest ended with {code!r}")


class Collected:
    """The tests of a session, and what each of them reaches."""

    def __init__(self, folder: Path, items: list[pytest.Item]) -> None:
        """All of them, in pytest's order."""
        self.folder = folder
        self.items = {item.nodeid: item for item in items}
        self.reach: dict[str, Reach] = {}

    def follow(self, known: Path) -> None:
        """Run every file of tests once without a fault, but for files that an earlier session followed."""
        if known.exists():
            earlier = (Reach(**(json.loads(line))) for line in known.read_text().splitlines())
            self.reach = {each.test: each for each in earlier if each.source == self._digest(each.test)}
        for file, group in groupby(self.items, lambda test: test.partition("::")[0]):
            tests = [test for test in group if test not in self.reach]
            if tests and not file.startswith(UNFOLLOWED):
                self._fork(lambda tests=tests: self._write_reach(tests, known), seconds=600)  # type: ignore[misc]
        self.reach = {each["test"]: Reach(**each) for each in map(json.loads, known.read_text().splitlines())}
        self.reach = {test: each for test, each in self.reach.items() if test in self.items}

    def failing(self, module: str, line: int, source: str, seconds: int) -> str | None:
        """The first test that fails with a module's changed text, before its processor time is spent.

        Args:
            module: Path of the module in the repository.
            line: Line of the change.
            source: The changed text.
            seconds: Processor time.

        Returns:
            Name of the test, or None.
        """
        file = self.folder / module
        changed = changed_functions(file, source)
        tests = list(self._ordered(module, enclosing(file, line) if changed is not None else None))
        if not tests:
            return None
        failed = self.folder / "failed.txt"
        failed.unlink(missing_ok=True)
        if changed is None:  # outside functions: what is imported has it already
            return self._in_a_new_process(file, source, tests, seconds)
        self._fork(lambda: self._put_in_and_run(file, changed, tests, failed), seconds)
        return failed.read_text() if failed.exists() else None

    def _ordered(self, module: str, function: str | None) -> Iterator[str]:
        """The tests that run the function, or the module; then the others of their files; then those of set-up.

        What stands outside functions first meets those that read the source.
        """
        passing = sorted((each for each in self.reach.values() if each.passed), key=lambda each: each.seconds)
        prefix = f"{module}:"
        reaching = [
            each.test
            for each in passing
            if (function in each.functions if function else any(name.startswith(prefix) for name in each.functions))
        ]
        if not function:
            yield from (test for test in self.items if test.startswith(READING))
        yield from reaching
        files = {test.partition("::")[0] for test in reaching}
        yield from (
            each.test for each in passing if each.test.partition("::")[0] in files and each.test not in reaching
        )
        if Path(module).parent.name in INSTRUMENTED:
            yield from (test for test in self.items if test.startswith(UNFOLLOWED))

    def _digest(self, test: str) -> str:
        file = self.folder / test.partition("::")[0]
        return hashlib.sha256(file.read_bytes()).hexdigest() if file.exists() else ""

    def _write_reach(self, tests: list[str], known: Path) -> None:
        with known.open("a") as out:
            for number, test in enumerate(tests):
                begin, seen = time.process_time(), set[CodeType]()

                def called(frame: FrameType, _event: str, _: Any, seen: set[CodeType] = seen) -> None:
                    seen.add(frame.f_code)

                threading.settrace(called)
                sys.settrace(called)
                passed = self._passes(test, tests[number + 1] if number + 1 < len(tests) else None)
                sys.settrace(None)
                functions = sorted(filter(None, map(self._place, seen)))
                one = Reach(test, self._digest(test), passed, time.process_time() - begin, tuple(functions))
                out.write(json.dumps(asdict(one)) + "\n")

    def _place(self, code: CodeType) -> str | None:
        if str(self.folder) not in code.co_filename:
            return None
        file = Path(code.co_filename).resolve()
        return f"{file.relative_to(self.folder)}:{code.co_firstlineno}"

    def _passes(self, test: str, following: str | None) -> bool:
        item = self.items[test]
        reports: list[bool] = []

        class Seen:
            def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
                reports.append(report.failed)

        seen = Seen()
        item.config.pluginmanager.register(seen)
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=self.items.get(following or ""))
        item.config.pluginmanager.unregister(seen)
        return not any(reports)

    def _put_in_and_run(self, file: Path, changed: dict[tuple[str, int], CodeType], tests: list[str], to: Path) -> None:
        # By the type: isinstance asks some objects of torch, which warn
        for each in [each for each in gc.get_objects() if type(each) is FunctionType]:
            code = each.__code__
            new = changed.get((code.co_qualname, code.co_firstlineno))
            if new is not None and Path(code.co_filename).resolve() == file:
                each.__code__ = new
        for number, test in enumerate(tests):
            if not self._passes(test, tests[number + 1] if number + 1 < len(tests) else None):
                to.write_text(test)
                return

    def _in_a_new_process(self, file: Path, source: str, tests: list[str], seconds: int) -> str | None:
        original = file.read_text()
        options = [
            "-q",
            "-x",
            "-n",
            "0",
            "-p",
            "no:cacheprovider",
            "-W",
            "ignore::pytest.PytestAssertRewriteWarning",
            *MET,
        ]
        file.write_text(source)
        try:
            command = [sys.executable, "-m", "pytest", *options, *tests]
            code = self._fork(lambda: os.execv(sys.executable, command), seconds + 15)  # it imports all once more
        finally:
            file.write_text(original)
        # Interrupted: without the fault the same tests can be imported
        noticing = (pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.INTERRUPTED)
        return "in a new process" if code in noticing else None

    def _fork(self, work: Callable[[], Any], seconds: int) -> int:
        child = os.fork()
        if child == 0:
            try:
                resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
                log = os.open(self.folder / "tests.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
                os.dup2(log, 1)
                os.dup2(log, 2)
                work()
                os._exit(0)
            finally:  # an error here must not unwind the parent's code
                traceback.print_exc()
                os._exit(70)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code == 70:
            raise RuntimeError((self.folder / "tests.log").read_text()[-3000:])
        return code  # negative: the time was spent


def enclosing(file: Path, line: int) -> str:
    """The outermost function around a line: file and first line, decorators among them."""
    for node in ast.walk(ast.parse(file.read_text())):  # breadth first: methods before what is inside them
        if isinstance(node, ast.FunctionDef):
            first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
            if first <= line <= (node.end_lineno or line):
                parts = file.parts[-2:] if file.parts[-2] in ("diagnostics", "interventions") else file.parts[-3:]
                return f"{'/'.join(parts)}:{first}"
    return ""


def changed_functions(file: Path, source: str) -> dict[tuple[str, int], CodeType] | None:
    """New code of each outermost function that differs, by name and first line; None where a change is outside."""
    modules = [m for m in list(sys.modules.values()) if _is_of(m, file)]
    if not modules:
        return None
    spec = modules[0].__spec__
    loader = spec.loader if spec is not None else None
    if not isinstance(loader, importlib.abc.InspectLoader):
        return None
    compiled: Callable[..., CodeType] = loader.source_to_code
    old = compiled(file.read_bytes(), modules[0].__file__)
    new = compiled(source.encode(), modules[0].__file__)
    return dict(_differing(old, new)) if _agree_outside(old, new) else None


def _is_of(module: Any, file: Path) -> bool:
    path = getattr(module, "__file__", None)
    return isinstance(path, str) and path.endswith(file.name) and Path(path).resolve() == file


def _inner(code: CodeType) -> list[CodeType]:
    return [each for each in code.co_consts if isinstance(each, CodeType)]


def _is_function(code: CodeType) -> bool:
    return bool(code.co_flags & inspect.CO_OPTIMIZED)


def _own(code: CodeType) -> tuple[Any, ...]:
    constants = [repr(each) for each in code.co_consts if not isinstance(each, CodeType)]
    return code.co_code, constants, code.co_names, code.co_freevars, len(_inner(code))


def _agree_outside(old: CodeType, new: CodeType) -> bool:
    if _is_function(old):
        return old.co_freevars == new.co_freevars
    pairs = zip(_inner(old), _inner(new), strict=False)
    return _own(old) == _own(new) and all(_agree_outside(a, b) for a, b in pairs)


def _differing(old: CodeType, new: CodeType) -> Iterator[tuple[tuple[str, int], CodeType]]:
    if _is_function(old):
        if old != new:
            yield (old.co_qualname, old.co_firstlineno), new
        return
    for a, b in zip(_inner(old), _inner(new), strict=True):
        yield from _differing(a, b)
