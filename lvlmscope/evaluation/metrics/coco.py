"""The 80 object categories of COCO and the words that name them, with the rules of CHAIR for compounds."""

from functools import cache
from typing import Final

from lvlmscope.evaluation.metrics.vocabulary import Vocabulary

__all__ = ["coco_vocabulary"]

# Beside the category's own name. Written for this library; the published list groups the same objects, and so do we:
# goats with sheep, bagels with donuts, desks with dining tables.
_SYNONYMS: Final[dict[str, str]] = {
    "person": "man, woman, boy, girl, child, kid, baby, toddler, infant, teenager, adult, people, guy, lady, gentleman,"
    " male, female, mother, father, mom, dad, sister, brother, grandchild, bride, groom, chef, baker, rider,"
    " driver, biker, bicyclist, cyclist, motorcyclist, passenger, traveler, traveller, worker, coworker, officer,"
    " policeman, policewoman, cop, soldier, serviceman, fireman, firefighter, doctor, patient, student,"
    " politician, cowboy, hunter, villager, shopper, buyer, camper, walker, drinker, caller, foreigner,"
    " trespasser, offender, thief, player, pitcher, batter, catcher, skier, snowboarder, skater, skateboarder,"
    " surfer, pedestrian",
    "bicycle": "bike, trike, tricycle, unicycle, minibike",
    "car": "automobile, sedan, hatchback, coupe, suv, van, minivan, jeep, cab, taxi, taxicab, limo, limousine",
    "motorcycle": "motor cycle, motorbike, motor bike, scooter, moped",
    "airplane": "air plane, aeroplane, plane, aircraft, jet, jetliner, airliner, airbus, monoplane, biplane, seaplane",
    "bus": "minibus, trolley",
    "train": "locomotive, tramway, caboose",
    "truck": "pickup, lorry, hauler, firetruck",
    "boat": "ship, vessel, watercraft, sailboat, motorboat, speedboat, powerboat, rowboat, paddleboat, houseboat,"
    " lifeboat, tugboat, riverboat, steamboat, steamship, battleship, freighter, ferry, ferryboat, barge, trawler,"
    " schooner, yacht, catamaran, pontoon, canoe, kayak, dinghy, skiff, sailboard, liner",
    "traffic light": "traffic signal, stop light, stoplight, street light, streetlight",
    "fire hydrant": "hydrant",
    "stop sign": "",
    "parking meter": "",
    "bench": "pew",
    "bird": "fowl, songbird, seabird, shorebird, waterbird, waterfowl, seagull, gull, duck, mallard, goose, gosling,"
    " swan, pelican, cormorant, heron, egret, flamingo, ostrich, owl, falcon, buzzard, vulture, condor, osprey,"
    " crow, raven, magpie, blackbird, bluebird, bluejay, cowbird, pigeon, sparrow, finch, robin, warbler, oriole,"
    " chickadee, willet, sandpiper, kingfisher, woodpecker, hummingbird, puffin, loon, parrot, parakeet, macaw,"
    " cockatoo, cockatiel, lorikeet, peacock, peafowl, pheasant, quail, rooster, turkey",
    "cat": "kitten, feline, tabby",
    "dog": "puppy, pup, doggy, doggie, canine, hound, mutt, sheepdog, bulldog, pitbull, beagle, terrier, poodle,"
    " collie, corgi, pug, husky, labrador, retriever, spaniel, cocker, dachshund, chihuahua, doberman,"
    " rottweiler, schnauzer, greyhound, whippet, weimaraner, brindle",
    "horse": "pony, colt, foal, mare, stallion, racehorse, equine, mustang, bronco, bronc, palomino, clydesdale",
    "sheep": "lamb, ram, ewe, goat",
    "cow": "cattle, calf, bull, ox, heifer, holstein, buffalo, bison, zebu",
    "elephant": "",
    "bear": "panda",
    "zebra": "",
    "giraffe": "",
    "backpack": "knapsack, rucksack",
    "umbrella": "",
    "handbag": "purse, wallet, briefcase",
    "tie": "bow tie, bow, necktie",
    "suitcase": "suit case, luggage",
    "frisbee": "",
    "skis": "ski",
    "snowboard": "",
    "sports ball": "ball",
    "kite": "",
    "baseball bat": "",
    "baseball glove": "",
    "skateboard": "",
    "surfboard": "longboard, shortboard, skimboard, wakeboard",
    "tennis racket": "racket, tennis racquet, racquet",
    "bottle": "",
    "wine glass": "wineglass",
    "cup": "",
    "fork": "",
    "knife": "pocketknife",
    "spoon": "",
    "bowl": "container",
    "banana": "",
    "apple": "",
    "sandwich": "burger, hamburger, cheeseburger, sub",
    "orange": "",
    "broccoli": "",
    "carrot": "",
    "hot dog": "hotdog",
    "pizza": "",
    "donut": "doughnut, bagel",
    "cake": "cupcake, cheesecake, shortcake, coffeecake, pancake",
    "chair": "seat, stool",
    "couch": "sofa, loveseat, settee, futon, recliner, chesterfield",
    "potted plant": "houseplant",
    "bed": "",
    "dining table": "table, desk",
    "toilet": "urinal, commode, lavatory, potty, toilet seat",
    "tv": "television, monitor",
    "laptop": "laptop computer, computer, notebook, netbook, macbook",
    "mouse": "",
    "remote": "",
    "keyboard": "",
    "cell phone": "cellphone, mobile phone, phone, smartphone, telephone, iphone",
    "microwave": "",
    "oven": "stove, stovetop, stove top oven",
    "toaster": "",
    "sink": "",
    "refrigerator": "fridge, freezer",
    "book": "",
    "clock": "",
    "vase": "",
    "scissors": "",
    "teddy bear": "teddybear",
    "hair drier": "hair dryer, hairdryer, hairdrier",
    "toothbrush": "",
}
_ANIMALS: Final = ("bird", "cat", "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe")
_VEHICLES: Final = {"jet": "airplane", "train": "train"}
_NOTHING: Final = (
    "train track",
    "home plate",
    *(f"{age} {one}" for age in ("baby", "adult") for one in ("animal", "cub")),
)


@cache
def coco_vocabulary() -> Vocabulary:
    """The 80 COCO categories by their names and synonyms, with the published rules of CHAIR.

    Plurals count, irregular ones too. Pairs of words are one object ("hot dog" is no dog, "bow tie" one tie); "baby"
    and "adult" before an animal, "passenger" before a jet or a train, name no person; a train track and a home plate
    are no objects; a toilet seat is a toilet, and "seat" names no chair in a text in which a toilet is named.

    The synonyms are this library's own table; for figures that are compared with published ones read the published
    file with `chair_synonyms`. A calibration keeps the words but not the rule about toilet seats.

    Returns:
        The vocabulary; every call gives the same one.

    Reference:
        Rohrbach et al. 2018, arXiv 1809.02156, section 3, and the rules in its published code.

    Examples:
        >>> [one.category for one in coco_vocabulary().mentions("Two women feed a baby elephant near train tracks.")]
        ['person', 'elephant']
    """
    words = {name: [name, *(form.strip() for form in text.split(",") if text)] for name, text in _SYNONYMS.items()}
    return with_chair_rules(words)


def with_chair_rules(words: dict[str, list[str]]) -> Vocabulary:
    """A vocabulary of COCO categories with the rules of CHAIR for compounds.

    Args:
        words: Forms of each category, under COCO's names; a form of two categories is the last one's, as published.
    """
    extended = {name: list(forms) for name, forms in words.items()}
    for animal in _ANIMALS:
        extended.setdefault(animal, []).extend(f"{age} {animal}" for age in ("baby", "adult"))
    for vehicle, name in _VEHICLES.items():
        extended.setdefault(name, []).append(f"passenger {vehicle}")
    extended.setdefault("toilet", []).append("toilet seat")
    return Vocabulary({**extended, "": list(_NOTHING)}, shared="last", unless={"seat": ["toilet", "toilet seat"]})
