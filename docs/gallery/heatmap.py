"""Image attention of each head, a share of 1, with the numbers."""

import lvlmscope as lv
from lvlmscope.tiny import scene

model, image = lv.load("tiny"), scene("prior", 112, seed=11).image
trace = lv.trace(model, image, "Describe the image.", max_new_tokens=48)

figure = lv.plot.heatmap(trace, numbers=True)
figure.savefig("heatmap.png", dpi=110)
