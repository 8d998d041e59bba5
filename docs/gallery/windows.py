"""What each word of an answer loses when attention to the image is cut in two neighbouring layers."""

import lvlmscope as lv
from lvlmscope.tiny import scene

model, image = lv.load("tiny"), scene("prior", 0).image
trace = lv.trace(model, image, "Describe the image.", max_new_tokens=48)

figure = lv.plot.windows(lv.knockout(model, trace, to="all", layers=2))
figure.savefig("windows.png", dpi=70)
