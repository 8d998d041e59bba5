"""Where an exception of user code comes from: the innermost note counts, and only real callables are looked for."""

import functools
from typing import Any

import pytest

from lvlmscope.hooks.user_code import calling, is_users_own, noting_callables


def test_the_innermost_note_counts_and_stands_once() -> None:
    with pytest.raises(KeyError) as caught, calling("the outer code"), calling("the inner code"):
        raise KeyError("word")
    assert caught.value.__notes__ == ["raised by the inner code"]
    assert is_users_own(caught.value)


def test_an_interrupt_is_nobodys_fault() -> None:
    with pytest.raises(KeyboardInterrupt) as caught, calling("my code"):
        raise KeyboardInterrupt
    assert not is_users_own(caught.value)


def test_notes_of_others_are_not_ours() -> None:
    error = ValueError("x")
    error.add_note("seen by nobody")
    assert not is_users_own(error)
    with pytest.raises(ValueError, match="x"), calling("my code"):
        raise error
    assert is_users_own(error)


class Fails:
    def run(self) -> None:
        raise ValueError("of its own")


def fail() -> None:
    raise ValueError("of a function")


def outer() -> None:
    fail()


@functools.wraps(fail)
def wrapper() -> None:
    fail()


def test_the_option_that_holds_the_code_is_named_with_its_place() -> None:
    good, bad = Fails(), Fails()
    for named, call, note in (
        ({"filters": [good, bad]}, bad.run, "raised by filters[1], Fails"),
        ({"filters": [bad, good], "other": "Fails"}, bad.run, "raised by filters[0], Fails"),
        ({"criterion": fail}, outer, "raised by criterion, fail"),
        ({"criterion": wrapper}, outer, "raised by criterion, fail"),
        ({"criterion": functools.partial(fail)}, outer, "raised by criterion, partial"),
    ):
        with pytest.raises(ValueError, match="of ") as caught, noting_callables(named):
            call()
        assert caught.value.__notes__ == [note]


@pytest.mark.parametrize("named", [{}, {"filters": []}, {"filters": [Fails()]}, {"name": "fail"}, {"name": None}])
def test_code_that_no_option_holds_is_not_blamed_on_one(named: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="of a function") as caught, noting_callables(named):
        fail()
    assert not is_users_own(caught.value)
