"""How much of "handbag" each head brings back under an image without the handbag."""

import lvlmscope as lv
from lvlmscope.tiny import scene

model, shown, without = lv.load("tiny"), scene("prior", 0), scene("prior", 0, without="handbag")
trace = lv.trace(model, shown.image, "Describe the image.", max_new_tokens=12)

found = lv.patch(model, trace, without.image, words="handbag", part="heads")
figure = lv.plot.heatmap(found.isel(at=0, word=0, drop=True))
figure.savefig("patching.png", dpi=66)
