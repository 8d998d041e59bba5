"""One word at every layer and head: a tile for each, layer 0 at the bottom, each tile on its own scale."""

import lvlmscope as lv
from lvlmscope.tiny import scene

model, image = lv.load("tiny"), scene("prior", 112, seed=11).image
trace = lv.trace(model, image, "Describe the image.", max_new_tokens=48)

figure = lv.plot.overlay(trace, "knife", each="layer_head")
figure.savefig("overlay_heads.png", dpi=90)
