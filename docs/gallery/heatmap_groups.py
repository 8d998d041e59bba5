"""Heads of each layer in groups: those with the most image attention at the left, divided by a line."""

import lvlmscope as lv
from lvlmscope.tiny import scene

model, image = lv.load("tiny"), scene("prior", 112, seed=11).image
trace = lv.trace(model, image, "Describe the image.", max_new_tokens=48)

figure = lv.plot.heatmap(trace, groups=lv.sensitive_heads(trace), order="value")
figure.savefig("heatmap_groups.png", dpi=110)
