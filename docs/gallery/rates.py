"""Object words in bins of their saliency to the words before, and how many of each bin are hallucinated."""

import tempfile

import lvlmscope as lv
from lvlmscope.evaluation import bundled_dataset, rate_by_bin

model = lv.load("tiny")
with tempfile.TemporaryDirectory() as folder:
    data = bundled_dataset("tiny-chair", n=12)
    swept = lv.sweep(model, data, folder, signals=["saliency_to_previous"], max_new_tokens=48, progress=False)
    found = rate_by_bin(swept, "saliency_to_previous", bins=6)
lv.plot.rates(found).savefig("rates.png", dpi=110)
