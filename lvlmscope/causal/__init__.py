"""Causal evidence: what a word loses when attention is cut, beside maps that only say where attention was.

A knock-out cuts the attention from chosen keys to chosen query rows in a window of layers, and reads how much less
probable each word of the answer is. Activation patching shows the model another image and puts activations of the first
one back, one layer and place at a time.
"""

from lvlmscope.causal.knock_out import knockout
from lvlmscope.causal.patching import patch

__all__ = ["knockout", "patch"]
