"""The explorer of a trace: in a notebook, and as one HTML file."""

from lvlmscope.explorer.html_report import report
from lvlmscope.explorer.widget import explore

__all__ = ["explore", "report"]
