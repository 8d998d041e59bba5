"""A signal by class of word: each word a point, and the quartiles of each class."""

import lvlmscope as lv
from lvlmscope.tiny import scene

model, image = lv.load("tiny"), scene("prior", 112, seed=11).image
trace = lv.trace(model, image, "Describe the image.", max_new_tokens=48)

entropy = trace.to_xarray()["entropy"].assign_attrs(long_name="next-token entropy")
mentions = lv.evaluation.vocabulary().mentions(trace.answer)
grounded = [mention for mention in mentions if mention.category == "knife"]
hallucinated = [mention for mention in mentions if mention.category != "knife"]
figure = lv.plot.distribution(trace, entropy, grounded=grounded, hallucinated=hallucinated)
figure.savefig("distribution.png", dpi=110)
