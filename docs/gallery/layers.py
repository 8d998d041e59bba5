"""Signals over depth: entropy of each layer's image attention, and its correlation with early noise and the anchor."""

import lvlmscope as lv
from lvlmscope.tiny import scene

model, image = lv.load("tiny"), scene("prior", 112, seed=11).image
trace = lv.trace(model, image, "Describe the image.", max_new_tokens=48)

figure = lv.plot.layers([lv.layer_image_entropy(trace), lv.anchor_correlation(trace)])
figure.savefig("layers.png", dpi=110)
