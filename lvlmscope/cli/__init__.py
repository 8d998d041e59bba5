"""The command line: `lvlmscope demo | trace | report | eval` and more; `lvlmscope --help` lists them.

Exit codes: 0 done; 1 a defect of lvlmscope (with a traceback, please report it); 2 an input that cannot be used, told
in one line on standard error.
"""

from lvlmscope.cli.app import main

__all__ = ["main"]
