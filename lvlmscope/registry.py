"""Registries of signals, interventions and model families: names, entry points, close matches."""

import difflib
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Any, Generic, TypeVar

from lvlmscope.errors import LvlmscopeError, first_line, message

__all__ = ["Registry", "close_match"]

Item = TypeVar("Item")


def close_match(name: str, known: Iterable[str]) -> str:
    """The known name most like an unknown one, whatever the letter case; empty when none is alike.

    A name in lower case gets its match in lower case.

    >>> close_match("dleff", ["CLVA", "DLEAF"]), close_match("Dleff", ["CLVA", "DLEAF"]), close_match("vcd", ["DLEAF"])
    ('dleaf', 'DLEAF', '')
    """
    by_lower_case = {each.lower(): each for each in known}
    found = difflib.get_close_matches(name.lower(), by_lower_case, n=1)
    if not found:
        return ""
    return found[0] if name == name.lower() else by_lower_case[found[0]]


class Registry(Mapping[str, Item], Generic[Item]):
    """Items by name, in the order of registration; names are unique in any letter case.

    Other packages add items by entry points, in one of two ways. Without `adopt`, an entry point names a module, or an
    object in one, that registers items when it is imported; all are imported on the first look-up. One that cannot be
    imported is left out with a warning, or, where `needs_all`, stops every look-up. With `adopt`, an entry point's name
    is the item's name and its value the item, which is imported when it is looked up: names are known before that.

    Attributes:
        what: What an item is called in messages.
        group: Entry-point group.
        error: Class of the errors raised.
    """

    def __init__(
        self,
        what: str,
        group: str,
        error: type[LvlmscopeError],
        *,
        adopt: Callable[[Any], Item] | None = None,
        needs_all: bool = False,
    ) -> None:
        """An empty registry.

        Args:
            what: What an item is called in messages.
            group: Entry-point group.
            error: Raised for a name that is taken or unknown, and for an entry point that cannot be loaded.
            adopt: Gives the item for what an entry point's value names; raises `error` where that is no item.
            needs_all: Raise `error` on every look-up while an entry point cannot be loaded: for items that are not
                asked for by name, where leaving one out would change what is chosen.
        """
        self.what, self.group, self.error = what, group, error
        self._adopt, self._needs_all = adopt, needs_all
        self._broken: dict[str, LvlmscopeError] = {}
        self._items: dict[str, Item] = {}
        self._sources: dict[str, Any] = {}
        self._loaded = False

    def register(self, name: str, item: Item, *, source: Any = None) -> None:
        """Adds an item. What was defined at the same place before, as in a notebook cell run again, is replaced.

        Args:
            name: Its name.
            source: The class or function that it was made from; the item itself when None.

        Raises:
            LvlmscopeError: The name is taken, in any letter case; of the registry's class.
        """
        source = item if source is None else source
        taken = next((each for each in self._items if each.lower() == name.lower()), None)
        if taken is not None and (taken != name or not _same_place(self._sources[taken], source)):
            task = f"register the {self.what} {name!r}"
            expected = f"one {self.what} of each name"
            raise self.error(message("a name that is taken", expected, "choose another name", task=task))
        self._items.pop(name, None)  # the last one registered is the last one in order
        self._items[name], self._sources[name] = item, source

    @contextmanager
    def temporary(self) -> Iterator[None]:
        """Removes what was registered inside the block, also by entry points, when the block ends."""
        self._names()  # modules that are imported register once: theirs are not of the block
        before = dict(self._items), dict(self._sources), dict(self._broken), self._loaded
        self._loaded = False
        try:
            yield
        finally:
            self._items, self._sources, self._broken, self._loaded = before

    def find(self, name: str, *, task: str, fix: str) -> Item:
        """The item of a name in any letter case.

        Args:
            task: What is being done, for the message.
            fix: What to do about an unknown name.

        Returns:
            The item.

        Raises:
            LvlmscopeError: No such name: the message lists the names and suggests a close one. Or an entry point that
                cannot be loaded.
        """
        known = next((each for each in self if each.lower() == name.lower()), None)
        if known is None:
            close = self.close_match(name)
            fix = f"did you mean {close!r}? {fix}" if close else fix
            if self._broken:
                fix += f". Left out, as it cannot be loaded: {' '.join(map(str, self._broken.values()))}"
            raise self.error(message(repr(name), ", ".join(self), fix, task=task))
        return self[known]

    @property
    def broken(self) -> dict[str, str]:
        """Entry points that were left out because they cannot be loaded, by name, with the reason."""
        self._names()
        return {name: str(error) for name, error in self._broken.items()}

    def close_match(self, name: str) -> str:
        """The registered name most like an unknown one; empty when none is alike."""
        return close_match(name, self)

    def __getitem__(self, name: str) -> Item:
        """The item of that name."""
        if self._adopt is None:
            self._load()
        elif name not in self._items and (point := self._points().get(name)):
            return self._adopted(point)
        return self._items[name]

    def __iter__(self) -> Iterator[str]:
        """Names in the order of registration, then those of entry points that are not loaded, in alphabetical order."""
        return iter(self._names())

    def __len__(self) -> int:
        """Number of items."""
        return len(self._names())

    def __contains__(self, name: object) -> bool:
        """Whether there is an item of that name, loaded or not."""
        return name in self._names()

    def _names(self) -> tuple[str, ...]:
        if self._adopt is None:
            self._load()
            return tuple(self._items)
        points, own = self._points(), {name.lower(): name for name in self._items}
        for name, point in points.items():
            if name.lower() in own and self._sources[own[name.lower()]] is not self._imported(point):
                raise self._duplicate(name)
        return (*self._items, *(name for name in points if name.lower() not in own))

    def _points(self) -> dict[str, EntryPoint]:
        """Entry points by name, in alphabetical order; one that two paths of one installation give counts once."""
        found: dict[str, EntryPoint] = {}
        for point in sorted(entry_points(group=self.group), key=lambda each: each.name):
            other = next((each for name, each in found.items() if name.lower() == point.name.lower()), None)
            if other is not None and (other.name, other.value) != (point.name, point.value):
                raise self._duplicate(point.name)
            found[point.name] = point
        return found

    def _adopted(self, point: EntryPoint) -> Item:
        """The item of an entry point; importing it may have registered it already."""
        assert self._adopt is not None
        found = self._imported(point)
        name = next((name for name, source in self._sources.items() if source is found), None)
        if name is not None and name.lower() != point.name.lower():
            got = f"an entry point of that name for {point.value}, which is registered as {name!r}"
            task = f"load the {self.what} {point.name!r}"
            raise self.error(message(got, "equal names", f"name the entry point {name}", task=task))
        return self._adopt(found) if name is None else self._items[name]

    def _imported(self, point: EntryPoint) -> Any:
        try:
            return point.load()
        except self.error:  # it says what is wrong, such as a name that is taken
            raise
        except Exception as error:  # another package's own code may raise anything
            package = point.dist.name if point.dist else "it"
            shown = "" if isinstance(error, ImportError | AttributeError) else f"{type(error).__name__}: "
            got, fix = f"{point.value}: {shown}{first_line(error)}", f"repair or uninstall {package}"
            task = f"load the {self.what} {point.name!r}"
            raise self.error(message(got, "an entry point that can be imported", fix, task=task)) from error

    def _load(self) -> None:
        if self._loaded:
            return
        self._loaded = True  # what is imported below may look a name up
        self._broken = {}
        for point in sorted(entry_points(group=self.group), key=_own_first):
            before = dict(self._items), dict(self._sources)
            try:
                self._register_from(point)
            except self.error as error:
                self._items, self._sources = before  # all of an entry point, or nothing
                if self._needs_all:
                    self._loaded = False  # the next look-up raises again
                    raise
                self._broken[point.name] = error
        for reason in self._broken.values():
            warnings.warn(f"left out: {reason}", UserWarning, stacklevel=2)

    def _register_from(self, point: EntryPoint) -> None:
        """Imports what an entry point names, which registers items."""
        found = self._imported(point)
        registered = any(source is found for source in self._sources.values())
        if not registered and not isinstance(found, ModuleType):
            got, task = f"{point.value}, which is not registered", f"load the {self.what} {point.name!r}"
            fix = f"decorate it with @{self.what}, or name the module that does"
            raise self.error(message(got, f"a registered {self.what}", fix, task=task))

    def _duplicate(self, name: str) -> LvlmscopeError:
        got, expected = f"{name!r} from more than one package", f"one {self.what} of each name"
        return self.error(message(got, expected, "uninstall one of them", task=f"look up {self.what} names"))


def _own_first(point: EntryPoint) -> tuple[bool, str]:
    """Order of entry points: another package that takes a name of this one is refused, not this one."""
    return not point.value.startswith(f"{__package__}."), point.name


def _same_place(one: Any, other: Any) -> bool:
    """Whether two classes or functions were defined under one name in one module."""
    places = [(getattr(each, "__module__", None), getattr(each, "__qualname__", None)) for each in (one, other)]
    return None not in places[0] and places[0] == places[1]
