"""Options that are functions or collections are refused by name."""

from functools import partial
from typing import Any

import pytest

from lvlmscope.attention.option_checks import each_of, require_function, require_kind
from lvlmscope.errors import ModelInputError


def of_two(one: Any, other: Any) -> Any:
    return one, other


@pytest.mark.parametrize("given", [abs, dict, partial(of_two, 1), lambda one, **_: one, lambda *all: all])
def test_functions_of_one_argument_are_taken(given: Any) -> None:
    require_function("signal", given, "a function of a trace")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (3, "signal=3"),
        (None, "signal=None"),
        ("name", "signal='name'"),
        (lambda: 0, r"signal=<lambda>\(\)"),
        (of_two, r"signal=of_two\(one"),
    ],
)
def test_others_are_refused(given: Any, told: str) -> None:
    with pytest.raises(ModelInputError, match=f"got {told}.*; expected: a function of a trace; change signal"):
        require_function("signal", given, "a function of a trace")


def test_other_arguments_are_not_looked_at_where_they_come_with_it() -> None:
    require_function("signal", of_two, "a function of a trace", alone=False)
    with pytest.raises(ModelInputError, match="signal=<lambda>"):
        require_function("signal", lambda: 0, "a function of a trace", alone=False)


@pytest.mark.parametrize("given", [3, None, len])
def test_what_holds_nothing_is_refused(given: Any) -> None:
    with pytest.raises(ModelInputError, match=r"got words=.*; expected: texts; change words"):
        each_of("words", given, "texts")
    assert list(each_of("words", (each for each in "ab"), "texts")) == ["a", "b"]


def test_one_of_several_classes_will_do() -> None:
    require_kind("found", 1, (int, str), "a number or a text")
    with pytest.raises(ModelInputError, match=r"got found=1.5; expected: a number or a text"):
        require_kind("found", 1.5, (int, str), "a number or a text")
