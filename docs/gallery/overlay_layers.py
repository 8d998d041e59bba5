"""One word at each layer: a map for each, on a scale of its own."""

import lvlmscope as lv
from lvlmscope.tiny import scene

model, image = lv.load("tiny"), scene("prior", 112, seed=11).image
trace = lv.trace(model, image, "Describe the image.", max_new_tokens=48)

figure = lv.plot.overlay(trace, "knife", each="layer")
figure.savefig("overlay_layers.png", dpi=90)
