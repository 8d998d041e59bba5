"""How unsure the model was before each word and how much it looked, with the true and the made-up words marked."""

import lvlmscope as lv
from lvlmscope.tiny import scene

model, image = lv.load("tiny"), scene("prior", 112, seed=11).image
trace = lv.trace(model, image, "Describe the image.", max_new_tokens=48)

mentions = lv.evaluation.vocabulary().mentions(trace.answer)
true = [mention for mention in mentions if mention.category == "knife"]
made_up = [mention for mention in mentions if mention.category != "knife"]
figure = lv.plot.timeline(trace, true=true, made_up=made_up)
figure.savefig("timeline.png", dpi=110)
