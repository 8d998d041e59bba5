"""English function words, which name nothing: not judged in answers whose object words are not known."""

from typing import Final

__all__ = ["FUNCTION_WORDS"]

# Closed classes: determiners, pronouns, auxiliaries, prepositions, conjunctions; "yes" and "no" are answers
_TEXT: Final = """
a an the this that these those some any each every either neither both all such another other i me my mine you your
yours he him his she her hers it its we us our ours they them their theirs myself yourself himself herself itself
ourselves themselves who whom whose which what there here be am is are was were been being have has had having do
does did doing can could may might must shall should will would about above across after against along among around
as at before behind below beneath beside between beyond by down during for from in inside into near of off on onto
out outside over past per since through throughout to toward towards under until up upon via with within without and
or but nor so yet if because while although though when where whereas whether than then not also too very
"""
FUNCTION_WORDS: Final = frozenset(_TEXT.split())
