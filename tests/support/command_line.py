"""The command line for tests: in this process, or as a shell starts it."""

import io
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from warnings import catch_warnings

import pytest

from lvlmscope.cli import main

__all__ = ["Done", "run", "start"]


@dataclass(frozen=True)
class Done:
    returncode: int
    stdout: str
    stderr: str


def run(*arguments: str) -> Done:
    """The command in this process: starting one for each test would take longer than all tests."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with redirect_stdout(out), redirect_stderr(err), pytest.MonkeyPatch.context() as patch, catch_warnings():
        patch.setattr(sys, "argv", ["lvlmscope", *arguments])
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
    return Done(code, out.getvalue(), err.getvalue())


def start(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command as a shell starts it."""
    command = [str(Path(sys.executable).with_name("lvlmscope")), *arguments]
    wide = {"COLUMNS": "200", "OMP_NUM_THREADS": "2"}
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=os.environ | wide)
