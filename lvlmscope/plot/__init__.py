"""Views: each builds a figure from labelled arrays or a trace, and never touches a model."""

from lvlmscope.plot.ablations import ablation
from lvlmscope.plot.attended_patches import attending_words
from lvlmscope.plot.binned_rates import rates
from lvlmscope.plot.comparisons import compare
from lvlmscope.plot.correlations import correlation
from lvlmscope.plot.distributions import distribution
from lvlmscope.plot.heatmaps import heatmap
from lvlmscope.plot.image_overlays import overlay
from lvlmscope.plot.layer_profiles import layers
from lvlmscope.plot.layer_windows import windows
from lvlmscope.plot.saliency_matrices import saliency_matrix
from lvlmscope.plot.setting_maps import setting_map
from lvlmscope.plot.timelines import timeline
from lvlmscope.traces.words import Word, find_word, words_of

__all__ = [
    "Word",
    "ablation",
    "attending_words",
    "compare",
    "correlation",
    "distribution",
    "find_word",
    "heatmap",
    "layers",
    "overlay",
    "rates",
    "saliency_matrix",
    "setting_map",
    "timeline",
    "windows",
    "words_of",
]
