"""Saliency of earlier words and of the image for each word."""

import lvlmscope as lv
from lvlmscope.tiny import scene

model, image = lv.load("tiny"), scene("prior", 112, seed=11).image
trace = lv.trace(model, image, "Describe the image.", max_new_tokens=48, gradients=True)

figure = lv.plot.saliency_matrix(trace, lv.saliency(trace))
figure.savefig("saliency_matrix.png", dpi=110)
