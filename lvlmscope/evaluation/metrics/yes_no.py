"""Reading a yes or a no from an answer."""

import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, Literal

import numpy as np

from lvlmscope.interface.parameter_checks import checked
from lvlmscope.traces.text_folding import fold

__all__ = ["PARSERS", "Parser", "Verdict", "read_verdicts", "verdict"]

Verdict = Literal["yes", "no", "unclear"]
Parser = Literal["strict", "official", "first_word"]

_SENTENCES: Final = re.compile(r"[.!?;\n…。！？।॥؟]+")
_PREFIX: Final = re.compile(
    r"^(?:the )?(?:final |correct |short )?answer(?: to (?:this|the|your) question)?(?: is)?\s*[:,-]?\s*"
)
_BOTH: Final = re.compile(r"\b(?:yes|no)(?:,? (?:and|or) |\s*/\s*)(?:yes|no)\b")
# Phrases in which a negative word denies nothing, and questions at the end ("isn't there?")
_EMPHASIS: Final = re.compile(
    r"\b(?:(?:there is |there's )?no (?:doubt|question|denying|problem)(?: about it| that| it)?"
    r"|without (?:a |any )?doubt|not only)\b"
)
_TAG: Final = re.compile(r",\s*\w+n't (?:there|it|they|you|he|she|i|we)\s*$")
_UNABLE: Final = (
    r"(?:can't|cannot|can not|couldn't|could not|unable to|not able to|not possible to|impossible to) (?:\w+ly )?"
    r"(?:tell|say|determine|decide|confirm|verify|judge|help|answer|assist|provide|process|view|know"
    r"|be (?:\w+ly )?(?:told|said|determined|decided|confirmed|verified|judged|answered|known|ruled out|sure|certain)"
    r"|(?:see|access|open|make out) (?:the |any |this |your )?(?:image|picture|photo)s?)"
)
_DOUBT: Final = re.compile(
    r"\b(?:maybe|perhaps|possibly|probably|might|could be|may be|unclear|unsure|uncertain|ambiguous|isn't clear|no idea"
    r"|not (?:quite |really |entirely |completely |very )?(?:sure|certain|clear)|i doubt|rather not|enough information"
    r"|confirm nor deny"
    r"|(?:don'?t|do not|doesn't|didn't) know|(?:hard|difficult) to (?:say|tell|determine|see)|" + _UNABLE + r")\b"
    r"|不确定|不清楚|不知道|無法|无法|わかりません|分かりません|ไม่แน่ใจ|ไม่ทราบ|ไม่รู้"
)
# Whole answers, or their first word; as `fold` leaves them
_YES: Final = "yes|yeah|yep|yup|correct|true|affirmative|evet|oui|ja|sí|sim|да|हाँ|हां|जी|نعم|اجل"
_NO: Final = "no|nope|nah|incorrect|false|negative|hayir|yok|non|nein|não|нет|नहीं|لا|كلا|ليس"
_FIRST: Final = re.compile(rf"^\W*(?:(?P<yes>{_YES})|(?P<no>{_NO}))(?![\w\u0900-\u097f'])")
# In scripts without spaces the first of these, the longer ones before those they contain
_UNSPACED: Final = re.compile(
    r"(?P<no>没有|沒有|不是|没|沒|不|否|无|無|いいえ|いません|ありません|ない|ไม่มี|ไม่ใช่|ไม่)"
    r"|(?P<yes>是的|是|有|对|對|はい|ええ|います|あります|ใช่|มี)"
)
_CUES: Final = re.compile(
    r"(?P<no>\b(?:no|nope|not|none|never|neither|nor|nowhere|without|absent|missing|cannot|lacks?|unable|fails? to"
    r"|incorrect|wrong|false|\w+n't|(?:is|are|was|were|do|does|did|ca|could|would|has|have)nt)\b)|(?P<yes>\b(?:yes|yeah)\b)"
)
_AFFIRMED: Final = re.compile(
    r"\b(?:absolutely|certainly|definitely|of course|indeed|sure|undoubtedly|there (?:is|are)|there'?s|there're"
    r"|(?:can |do )?see|shows?|contains?|depicts?|includes?|features?|has|can be seen|is there"
    r"|(?:is|are) (?:visible|present)|(?:think|believe|guess|suppose|seems|appears) so|(?:seems|appears) to be"
    r"|(?:it|that|this)(?: is|'s) (?:true|correct|right))\b"
    r"|^\W*(?:it|they|there|i|you) (?:is|are|does|do|can)\W*$"  # "It does", "They are"
    r"|^\W*(?:a|an|the|one|two|some|several) (?!image|picture|photo|scene|question|answer)\w+(?: \w+)? (?:is|are)\b"
)


@checked
def verdict(answer: str, parser: Parser = "strict") -> Verdict:
    """A yes, a no, or neither, read from an answer.

    Args:
        answer: What the model said.
        parser: `"strict"`: what a person takes it for; doubt, refusals and other texts are `"unclear"`, never a guess.
            `"official"`: as POPE's published evaluation: a no where "No", "no" or "not" is a word of the first
            sentence, else a yes. `"first_word"`: the first word, if it is yes or no, else `"unclear"`.

    Returns:
        The verdict.

    Raises:
        ModelInputError: No parser of that name.

    Examples:
        >>> verdict("There isn't any."), verdict("No doubt, yes."), verdict("I'm not sure.")
        ('no', 'yes', 'unclear')
        >>> verdict("There isn't any.", "official"), verdict("There isn't any.", "first_word")
        ('yes', 'unclear')
    """
    return PARSERS[parser](answer)


def read_verdicts(
    answers: Sequence[str], parser: Parser, *, official: "Callable[[str], Verdict] | None" = None
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Verdicts of answers by one parser, and where the others read something else.

    Args:
        answers: Texts.
        parser: One of `PARSERS`.
        official: A benchmark's published parser in place of POPE's.

    Returns:
        Verdicts, str [answer], and by each other parser whether its verdict is another, bool [answer].
    """
    parsers = PARSERS if official is None else {**PARSERS, "official": official}
    verdicts = np.array([parsers[parser](answer) for answer in answers])
    others = {name: other for name, other in parsers.items() if name != parser}
    return verdicts, {n: np.array([other(answer) for answer in answers]) != verdicts for n, other in others.items()}


def _strict(answer: str) -> Verdict:
    text = _PREFIX.sub("", fold(answer).text.strip(" \t\n*_#>\"'`"))
    if _BOTH.search(text):
        return "unclear"
    plain = _EMPHASIS.sub(" ", text)
    for sentence in _SENTENCES.split(plain):
        found = _of_sentence(_TAG.sub("", _PREFIX.sub("", sentence.strip())))
        if found is not None:
            return found
    return "yes" if plain != text else "unclear"


def _of_sentence(sentence: str) -> Verdict | None:
    """What a sentence says; None for neither a yes, a no nor a doubt."""
    if (first := _FIRST.match(sentence)) and not _DOUBT.match(sentence):
        return "yes" if first["yes"] else "no"
    if _DOUBT.search(sentence):
        return "unclear"
    if cue := _UNSPACED.search(sentence) or _CUES.search(sentence):
        return "no" if cue["no"] else "yes"
    return "yes" if _AFFIRMED.search(sentence) else None


def _official(answer: str) -> Verdict:
    words = answer.split(".", maxsplit=1)[0].replace(",", "").split(" ")
    return "no" if {"No", "no", "not"} & set(words) else "yes"


def _first_word(answer: str) -> Verdict:
    found = re.match(r"\W*(yes|no)\b(?!')", fold(answer).text)
    return "unclear" if found is None else "yes" if found[1] == "yes" else "no"


PARSERS: Final[Mapping[str, "Callable[[str], Verdict]"]] = MappingProxyType(
    {"strict": _strict, "official": _official, "first_word": _first_word}
)
