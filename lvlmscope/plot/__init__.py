"""Figures from traces and labelled arrays; a view never sees a model."""

from lvlmscope.plot.comparing import compare
from lvlmscope.plot.heatmap import heatmap
from lvlmscope.plot.overlay import overlay
from lvlmscope.plot.timeline import WordClass, timeline

__all__ = ["WordClass", "compare", "heatmap", "overlay", "timeline"]
