"""Registries of signals, interventions and model families: names, entry points, close matches."""

import difflib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import entry_points
from typing import Generic, TypeVar

from lvlmscope.errors import LvlmscopeError, message

__all__ = ["Registry"]

Item = TypeVar("Item")


class Registry(Mapping[str, Item], Generic[Item]):
    """Items by name in the order of their registration; those of other packages are loaded on first use.

    Attributes:
        what: What an item is called in messages.
        group: Entry-point group by which other packages offer items: the module or object that registers them.
        error: Raised for a name that is taken, or an entry point that cannot be loaded.
    """

    def __init__(self, what: str, group: str, error: type[LvlmscopeError]) -> None:
        self.what, self.group, self.error = what, group, error
        self._items: dict[str, Item] = {}
        self._loaded = False

    def register(self, name: str, item: Item) -> None:
        """Adds an item; raises `error` where the name is taken, in any letter case."""
        if name.lower() in {each.lower() for each in self._items}:
            asked, todo = f"register the {self.what} {name!r}", "choose another name"
            raise self.error(message(asked, "a name that is taken", f"one {self.what} of each name", todo))
        self._items[name] = item

    def unregister(self, name: str) -> None:
        """Takes an item out again."""
        del self._items[name]

    @contextmanager
    def temporary(self) -> Iterator[None]:
        """Whatever is registered inside the block is gone after it."""
        self._load()
        before = dict(self._items)
        try:
            yield
        finally:
            self._items = before

    def close_match(self, name: str) -> str:
        """The registered name most like one that is not known; empty when none is alike."""
        known = {each.lower(): each for each in self}
        found = difflib.get_close_matches(name.lower(), known, n=1)
        return known[found[0]] if found else ""

    def __getitem__(self, name: str) -> Item:
        """The item of that name."""
        self._load()
        return self._items[name]

    def __iter__(self) -> Iterator[str]:
        """Names in the order of registration."""
        self._load()
        return iter(tuple(self._items))

    def __len__(self) -> int:
        """How many there are."""
        self._load()
        return len(self._items)

    def _load(self) -> None:
        if self._loaded:
            return
        self._loaded = True
        for point in sorted(entry_points(group=self.group), key=lambda each: each.name):
            try:
                point.load()
            except (ImportError, AttributeError) as error:
                self._loaded = False  # the next look-up says so again
                asked, received = f"load the {self.what} {point.name!r}", f"{point.value}: {error}"
                raise self.error(message(asked, received, "an importable module", "repair or uninstall it")) from error
