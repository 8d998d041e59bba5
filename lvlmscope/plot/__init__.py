"""Views: each builds a figure from labelled arrays or a trace, and never touches a model."""

from lvlmscope.plot.comparisons import compare
from lvlmscope.plot.heatmaps import heatmap
from lvlmscope.plot.overlays import overlay
from lvlmscope.plot.timelines import timeline
from lvlmscope.plot.words import Word, find_word, words_of

__all__ = ["Word", "compare", "find_word", "heatmap", "overlay", "timeline", "words_of"]
