"""One head, as contour lines over the image, beside the mean of three words: a set of words is one map."""

import matplotlib.pyplot as plt

import lvlmscope as lv
from lvlmscope.tiny import scene

model, image = lv.load("tiny"), scene("prior", 112, seed=11).image
trace = lv.trace(model, image, "Describe the image.", max_new_tokens=48)

figure, (left, right) = plt.subplots(1, 2, figsize=(7, 4.8), layout="constrained")
lv.plot.overlay(trace, "knife", layers=[3], heads=[2], contour=True, alpha=0.3, smoothing=0.5, ax=left)
lv.plot.overlay(trace, {"knife", "cake", "bowl"}, ax=right)
figure.savefig("overlay_head.png", dpi=110, bbox_inches="tight")
