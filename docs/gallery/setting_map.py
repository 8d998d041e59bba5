"""Two layer boundaries of head rescaling against each other, on yes/no questions about the bundled scenes."""

import lvlmscope as lv
from lvlmscope.evaluation import bundled_dataset, setting_map

model = lv.load("tiny")
data = bundled_dataset("tiny-pope", n=6)
grid = [
    lv.HeadRescaling(l_perc=l_perc, l_reas=l_reas, tau_perc=0.4, g_perc=1.6, g_reas=1.6)
    for l_perc in (1, 3, 5)
    for l_reas in (2, 4, 6)
]
result = lv.evaluate(model, data, {f"{one.l_perc}, {one.l_reas}": one for one in grid}, max_new_tokens=4)
lv.plot.setting_map(setting_map(result, "accuracy", axes=("l_perc", "l_reas"))).savefig("setting_map.png", dpi=110)
