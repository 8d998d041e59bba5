"""Whatever reads or writes a file refuses what is no path with one error that says so."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import lvlmscope as lv
from lvlmscope import evaluation
from lvlmscope.diagnostics import planted_trace
from lvlmscope.errors import CellError, EvaluationError, InterventionError, LvlmscopeError, OutputError, TraceFileError
from lvlmscope.interface.paths import path_of
from lvlmscope.interventions.depth_cell import CellConfig, DepthCell
from lvlmscope.risk.calibration import bundled_calibration

CELL = DepthCell(CellConfig(hidden_size=4))
CALLS: dict[str, tuple[Callable[[Any], Any], type[LvlmscopeError]]] = {
    "save a trace": (lambda path: planted_trace().save(path), TraceFileError),
    "load a trace": (lv.load_trace, TraceFileError),
    "read rows of a trace": (lv.read_attention, TraceFileError),
    "save interventions": (lambda path: lv.save_interventions(path, lv.DLEAF()), OutputError),
    "load interventions": (lv.load_interventions, InterventionError),
    "save a cell": (CELL.save, CellError),
    "load a cell": (DepthCell.load, CellError),
    "write a report": (lambda path: lv.report(planted_trace(), path), OutputError),
    "save a calibration": (lambda path: bundled_calibration().save(path), OutputError),
    "read a calibration": (lv.Calibration.load, EvaluationError),
    "read AMBER's files": (evaluation.amber_files, EvaluationError),
    "read CHAIR's synonyms": (evaluation.chair_synonyms, EvaluationError),
    "read COCO annotations": (evaluation.read_coco, EvaluationError),
    "read MME's folders": (evaluation.read_mme, EvaluationError),
    "read yes/no questions": (evaluation.read_questions, EvaluationError),
    "read a table of images and their objects": (evaluation.read_table, EvaluationError),
    "read a data set": (lambda path: evaluation.read_dataset("chair", path), EvaluationError),
    "read a run": (evaluation.load_run, EvaluationError),
}


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize("wrong", [3, None, True, b"a", ["a"], {}])
@pytest.mark.parametrize("call", CALLS)
def test_what_is_no_path_is_refused(call: str, wrong: Any) -> None:
    do, error = CALLS[call]
    with pytest.raises(
        error, match=rf"^{call}: got {type(wrong).__name__} .*expected: a path, as text or pathlib.Path"
    ):
        do(wrong)


def test_texts_and_path_objects_are_paths() -> None:
    assert path_of("a/b", OutputError) == path_of(Path("a/b"), OutputError) == Path("a/b")
