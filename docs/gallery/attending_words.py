"""From patches to words: the words that attend to the knife, which is in colour."""

import lvlmscope as lv
from lvlmscope.tiny import scene

model, image = lv.load("tiny"), scene("prior", 112, seed=11).image
trace = lv.trace(model, image, "Describe the image.", max_new_tokens=48)

mentions = lv.evaluation.vocabulary().mentions(trace.answer)
hallucinated = [mention for mention in mentions if mention.category != "knife"]
figure = lv.plot.attending_words(trace, box=(46, 60, 108, 110), hallucinated=hallucinated, grounded=["knife"])
figure.savefig("attending_words.png", dpi=100)
