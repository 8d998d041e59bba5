"""Correlation of the image maps of every two layers."""

import lvlmscope as lv
from lvlmscope.tiny import scene

model, image = lv.load("tiny"), scene("prior", 112, seed=11).image
trace = lv.trace(model, image, "Describe the image.", max_new_tokens=48)

figure = lv.plot.correlation(lv.layer_correlation(trace))
figure.savefig("correlation.png", dpi=110)
