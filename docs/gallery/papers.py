"""The papers' figures over many traces: attention by head, entropy and correlation by layer, by class of word."""

import lvlmscope as lv
from lvlmscope.evaluation import label_words, vocabulary
from lvlmscope.evaluation import paper_figures as published
from lvlmscope.tiny import scene

model = lv.load("tiny")
scenes = [scene("prior", number, seed=11) for number in range(12)]
options = {"max_new_tokens": 48, "gradients": True}
traces = [lv.trace(model, one.image, "Describe the image.", **options) for one in scenes]
words = [label_words(trace, one.present, vocabulary()) for trace, one in zip(traces, scenes, strict=True)]

# CLVA, figure 1
question = published.text_attention_by_head(traces, "question")
lv.plot.heatmap(published.image_attention_by_head(traces), numbers=question).savefig("papers_heads.png", dpi=110)
# CLVA, figure 2; D-LEAF, figures 3 and 5
by_layer = [
    published.entropy_by_layer(traces),
    published.pearson_by_layer(traces),
    published.abnormal_heads_by_layer(traces),
    published.entropy_by_word(traces, words),
]
lv.plot.layers(by_layer).savefig("papers_layers.png", dpi=110)
# LVLMs-Saliency, table 4
lv.plot.distribution(published.saliency_by_word(traces, words)).savefig("papers_saliency.png", dpi=110)
