"""Next-token entropy and image attention at each word, grounded and hallucinated words marked."""

import lvlmscope as lv
from lvlmscope.tiny import scene

model, image = lv.load("tiny"), scene("prior", 112, seed=11).image
trace = lv.trace(model, image, "Describe the image.", max_new_tokens=48)

mentions = lv.evaluation.vocabulary().mentions(trace.answer)
grounded = [mention for mention in mentions if mention.category == "knife"]
hallucinated = [mention for mention in mentions if mention.category != "knife"]
figure = lv.plot.timeline(trace, grounded=grounded, hallucinated=hallucinated)
figure.savefig("timeline.png", dpi=110)
