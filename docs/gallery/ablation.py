"""A grid of settings on the bundled scenes: what each changes, with intervals, and the time of a token."""

import lvlmscope as lv
from lvlmscope.evaluation import bundled_dataset, setting_differences

model = lv.load("tiny")
data = bundled_dataset("tiny-chair", n=8)
grid = {f"dleaf:gamma={gamma}": lv.DLEAF(gamma=gamma) for gamma in (0.1, 0.3, 0.5)}
result = lv.evaluate(model, data, grid, max_new_tokens=48, resamples=500)
lv.plot.ablation(setting_differences(result)).savefig("ablation.png", dpi=110)
