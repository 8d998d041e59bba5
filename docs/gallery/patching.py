"""Where "handbag" comes back under an image without the handbag: heads by layer, and the residual stream by place."""

import lvlmscope as lv
from lvlmscope.tiny import scene

model, shown, without = lv.load("tiny"), scene("prior", 0), scene("prior", 0, without="handbag")
trace = lv.trace(model, shown.image, "Describe the image.", max_new_tokens=12)

heads = lv.patch(model, trace, without.image, words="handbag", part="heads")
lv.plot.heatmap(heads.isel(at=0, word=0, drop=True)).savefig("patching_heads.png", dpi=110)

stream = lv.patch(model, trace, without.image, words="handbag")
lv.plot.layers(stream.isel(word=0, drop=True)).savefig("patching_stream.png", dpi=110)
