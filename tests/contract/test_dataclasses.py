"""What the package hands around cannot be changed by whoever gets it, and is compared only where that has an answer."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lvlmscope

PACKAGE = Path(lvlmscope.__file__).parent
# State that a run goes through
CHANGING = {"LaterParts", "_Runner"}
# Values kept in the object's own dictionary, once they are computed
WITHOUT_SLOTS = {"LaterParts", "WordMaps"}
# Made by place: of few parts, or in one module alone
BY_PLACE = {"Directions", "Done", "FoldedText", "LaterParts", "NoVideo", "Record", "TextTokens", "WordMaps"}
BY_PLACE |= {"_Attempt", "_Ready", "_Runner", "_Written"}
ARRAYS = ("Tensor", "ndarray", "DataArray", "Dataset")


def dataclasses_in(folder: Path) -> Iterator[tuple[str, dict[str, Any], list[str]]]:
    """Name, options and field types of each dataclass; how the bundled model was made is no part of it."""
    for file in sorted([*folder.rglob("*.py"), *(folder / "diagnostics").rglob("*.py")]):
        if "recipe" in file.parts or "@dataclass" not in (text := file.read_text()):
            continue
        for node in ast.walk(ast.parse(text)):
            for decorator in node.decorator_list if isinstance(node, ast.ClassDef) else ():
                call = decorator.func if isinstance(decorator, ast.Call) else decorator
                if ast.unparse(call) in ("dataclass", "dataclasses.dataclass"):
                    given = decorator.keywords if isinstance(decorator, ast.Call) else []
                    options = {each.arg: ast.literal_eval(each.value) for each in given if each.arg}
                    fields = [ast.unparse(each.annotation) for each in node.body if isinstance(each, ast.AnnAssign)]
                    yield node.name, options, fields


def test_dataclasses_are_frozen_and_have_slots_and_those_of_arrays_are_not_compared() -> None:
    found = list(dataclasses_in(PACKAGE)) + list(dataclasses_in(PACKAGE / "interventions"))
    assert len(found) > 150
    assert {name for name, options, _ in found if not options.get("frozen")} == CHANGING
    assert {name for name, options, _ in found if not options.get("slots")} == WITHOUT_SLOTS
    assert {name for name, options, _ in found if not options.get("kw_only")} == BY_PLACE
    arrays = [
        (name, options)
        for name, options, fields in found
        if any(array in each and "Callable" not in each for each in fields for array in ARRAYS)
    ]
    assert len(arrays) > 30
    assert {name for name, options in arrays if options.get("eq") is not False} == set()
