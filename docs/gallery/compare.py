"""Before and after an intervention on one scale, with the difference and both answers."""

import lvlmscope as lv
from lvlmscope.tiny import scene

model, image = lv.load("tiny"), scene("prior", 112, seed=11).image
trace = lv.trace(model, image, "Describe the image.", max_new_tokens=48)

intervention = [lv.DLEAF(gamma=0.5)]
after = lv.trace(model, image, "Describe the image.", max_new_tokens=48, interventions=intervention)
figure = lv.plot.compare(trace, after)
figure.savefig("compare.png", dpi=110)
