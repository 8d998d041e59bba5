"""Causal evidence: attention knockout and activation patching, beside attention maps, which are correlational.

A knockout cuts the attention from chosen keys to chosen query rows in a window of layers, and measures how much less
probable each word of the answer is. Activation patching runs the model on another image with activations of the first
one restored, one layer and set of positions at a time.
"""

from lvlmscope.causal.attention_knockout import knockout
from lvlmscope.causal.patching import patch

__all__ = ["knockout", "patch"]
