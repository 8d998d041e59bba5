"""The explorer of a trace: in a notebook, and as one HTML file."""

from lvlmscope.views.exploring import explore
from lvlmscope.views.reporting import report

__all__ = ["explore", "report"]
