"""Families by name: the decorator, other packages' entry points, which of several claims a model."""

from pathlib import Path
from typing import Any

import pytest
import torch

from lvlmscope.errors import UnsupportedModelError
from lvlmscope.models.families import FAMILIES, DefaultFamily, LlavaFamily, family, family_of, register_family
from tests.support import tiny_families, tiny_models
from tests.support.fake_distributions import installed

SERVED = {
    "idefics3": "idefics3",
    "internvl": "internvl",
    "llava": "llava",
    "paligemma": "paligemma",
    "pixtral": "pixtral",
    "qwen2_vl": "qwen_vl",
}
PACKAGE = """
from lvlmscope.models.families import LlavaFamily, family


@family
class CroppedLlava(LlavaFamily):
    name = "cropped_llava"


class Undecorated(LlavaFamily):
    name = "undecorated"
"""


@pytest.mark.parametrize(("case", "name"), SERVED.items())
def test_one_family_claims_a_model(case: str, name: str) -> None:
    model = tiny_families.FAMILIES[case](1).model
    assert [each.name for each in FAMILIES.values() if each.claims(model)] == [name]
    assert family_of(model) is FAMILIES[name]


def test_the_family_registered_last_is_asked_first() -> None:
    model = tiny_models.llava().model
    with FAMILIES.temporary():
        assert family_of(model).name == "llava"

        @family
        class One(LlavaFamily):
            name = "one"

        class Two(LlavaFamily):
            name = "two"

            def __init__(self, token: int) -> None:
                self.token = token

        assert family_of(model).name == "one"
        register_family(Two(token=7))
        assert family_of(model).name == "two"
        family(One)  # a notebook cell run again
        assert family_of(model).name == "one"
        assert list(FAMILIES).count("one") == 1
    assert family_of(model).name == "llava"


@pytest.mark.parametrize("value", ["offering_families", "offering_families:CroppedLlava"])
def test_another_packages_family_is_found_by_its_entry_point(value: str, tmp_path: Path) -> None:
    points = {FAMILIES.group: {"cropped": value}}
    with FAMILIES.temporary(), installed(tmp_path, "offering_families", PACKAGE, points):
        assert family_of(tiny_models.llava().model).name == "cropped_llava"
    assert "cropped_llava" not in FAMILIES


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (
            "offering_families:Undecorated",
            "'broken': .*Undecorated, which is not registered; .*@family",
        ),
        ("offering_families:Missing", "load the family 'broken': .*Missing.*uninstall offering_families"),
        ("no_such_module", "load the family 'broken': .*No module named 'no_such_module'"),
    ],
)
def test_a_family_that_cannot_be_loaded_is_named_each_time(value: str, text: str, tmp_path: Path) -> None:
    points = {FAMILIES.group: {"broken": value}}
    with FAMILIES.temporary(), installed(tmp_path, "offering_families", PACKAGE, points):
        for _ in range(2):
            with pytest.raises(UnsupportedModelError, match=text):
                family_of(torch.nn.Linear(1, 1))


@pytest.mark.usefixtures("unchecked_shapes")
def test_what_is_no_family_of_its_own_is_refused() -> None:
    taken: Any = type("Taken", (LlavaFamily,), {"name": "LLaVA"})
    nameless: Any = type("Nameless", (DefaultFamily,), {})
    for kind, text in (
        (taken, "register the family 'LLaVA': got a name that is taken; expected: one family of each name"),
        (nameless, "Nameless with the name 'generic'; expected: a name of its own"),
        (dict, "expected: all methods of the Family protocol"),
    ):
        with FAMILIES.temporary(), pytest.raises(UnsupportedModelError, match=text):
            family(kind)
