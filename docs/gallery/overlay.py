"""Attention over the image at three words; the knife is there, the cake and the bowl are not."""

import lvlmscope as lv
from lvlmscope.tiny import scene

model, image = lv.load("tiny"), scene("prior", 112, seed=11).image
trace = lv.trace(model, image, "Describe the image.", max_new_tokens=48)

figure = lv.plot.overlay(trace, ["knife", "cake", "bowl"])
figure.savefig("overlay.png", dpi=110)
