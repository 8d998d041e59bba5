"""The explorer of a trace: in a notebook, as one HTML file, and in short as the trace's own HTML."""

from lvlmscope.views.exploring import explore
from lvlmscope.views.reporting import report
from lvlmscope.views.summary import html_summary

__all__ = ["explore", "html_summary", "report"]
