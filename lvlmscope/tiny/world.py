"""The bundled model's world: its categories, the settings they occur in, and which occur together."""

from typing import Final

__all__ = ["CATEGORIES", "GUESTS", "PARTNER", "PLACES", "SETTINGS", "SYNONYMS", "counted", "plural", "with_article"]

# Each setting is a list of pairs. The two of a pair are *partners*: where one is, the other usually is too (see
# `scenes.PARTNER_RATE`). That regularity is the language prior which the `prior` split breaks.
SETTINGS: Final[dict[str, tuple[tuple[str, ...], ...]]] = {
    "street": (("car", "traffic light"), ("bus", "stop sign"), ("truck", "motorcycle"), ("bicycle", "person")),
    "farm": (("cow", "sheep"), ("horse", "dog")),
    "savanna": (("elephant", "zebra"), ("giraffe", "bird")),
    "lake": (("boat", "umbrella"), ("bear", "backpack")),
    "park": (("kite", "frisbee"), ("sports ball", "skateboard")),
    "station": (("train", "suitcase"), ("airplane", "handbag")),
    "table": (("pizza", "wine glass"), ("cake", "knife"), ("donut", "cup"), ("sandwich", "bottle"), ("bowl", "spoon")),
    "market": (("banana", "apple"), ("broccoli", "carrot"), ("orange",)),
    "lounge": (("couch", "tv"), ("chair", "potted plant"), ("vase", "clock"), ("cat", "teddy bear")),
    "office": (("laptop", "mouse"), ("keyboard", "cell phone")),
    "bedroom": (("toilet", "toothbrush"), ("bed", "book")),
}
GUESTS: Final[dict[str, tuple[str, ...]]] = {
    "street": ("dog",),
    "farm": ("person", "bird"),
    "savanna": ("person",),
    "lake": ("person", "bird"),
    "park": ("person", "dog", "bicycle"),
    "station": ("person", "backpack"),
    "table": ("banana", "apple"),
    "market": ("person", "knife"),
    "lounge": ("book", "person"),
    "office": ("cup", "book", "chair"),
    "bedroom": ("clock", "cat"),
}
PLACES: Final[dict[str, tuple[str, ...]]] = {
    "street": ("on a street", "in the street", "on a busy street"),
    "farm": ("on a farm", "on the farm", "on a green farm"),
    "savanna": ("in the savanna", "on a dry savanna"),
    "lake": ("at a lake", "near a lake", "at the lake"),
    "park": ("in a park", "in the park", "in a sunny park"),
    "station": ("at a station", "at the station"),
    "table": ("on a table", "on the table", "on a wooden table"),
    "market": ("at a market", "at the market"),
    "lounge": ("in a lounge", "in the lounge", "in a cosy lounge"),
    "office": ("in an office", "in the office"),
    "bedroom": ("in a bedroom", "in the bedroom"),
}
CATEGORIES: Final[tuple[str, ...]] = tuple(name for pairs in SETTINGS.values() for pair in pairs for name in pair)
PARTNER: Final[dict[str, str]] = {
    one: other for pairs in SETTINGS.values() for pair in pairs if len(pair) == 2 for one, other in (pair, pair[::-1])
}
SYNONYMS: Final[dict[str, tuple[str, ...]]] = {
    "bicycle": ("bike",),
    "motorcycle": ("motorbike",),
    "airplane": ("plane",),
    "couch": ("sofa",),
    "tv": ("television",),
    "cell phone": ("phone",),
    "sports ball": ("ball",),
    "potted plant": ("plant",),
    "cup": ("mug",),
    "handbag": ("purse",),
    "laptop": ("computer",),
    "donut": ("doughnut",),
}
_IRREGULAR: Final[dict[str, str]] = {
    "person": "people",
    "knife": "knives",
    "sheep": "sheep",
    "mouse": "mice",
    "broccoli": "broccoli",
}
_NUMBERS: Final = ("no", "one", "two", "three", "four", "five")


def plural(word: str) -> str:
    """The plural of a category or synonym.

    >>> plural("wine glass"), plural("knife"), plural("bus")
    ('wine glasses', 'knives', 'buses')
    """
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    return word + ("es" if word.endswith(("s", "sh", "ch", "x")) else "s")


def with_article(word: str) -> str:
    """The word with its indefinite article.

    >>> with_article("apple"), with_article("dog")
    ('an apple', 'a dog')
    """
    return ("an " if word[0] in "aeiou" else "a ") + word


def counted(word: str, count: int) -> str:
    """The word with its article or a number word.

    >>> counted("dog", 1), counted("mouse", 2)
    ('a dog', 'two mice')
    """
    return with_article(word) if count == 1 else f"{_NUMBERS[count]} {plural(word)}"


def vocabulary_words() -> dict[str, tuple[str, ...]]:
    """Every surface form of each category: its name, its synonyms, and their plurals.

    >>> vocabulary_words()["couch"]
    ('couch', 'couches', 'sofa', 'sofas')
    """
    forms = {name: (name, *SYNONYMS.get(name, ())) for name in CATEGORIES}
    return {
        name: tuple(f for word in words for f in dict.fromkeys((word, plural(word)))) for name, words in forms.items()
    }
