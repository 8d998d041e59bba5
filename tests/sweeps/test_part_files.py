"""Files of a part: their size at the width of a 7B model, and the same columns in every part."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch

from lvlmscope.evaluation.datasets.items import Item
from lvlmscope.evaluation.sweep_tables import has_part
from lvlmscope.sweeps.part_files import write_part
from lvlmscope.sweeps.part_run import FailedItem, SweptItem
from lvlmscope.sweeps.part_tables import Columns
from lvlmscope.traces.signal_trace import SignalTrace

LAYERS, SIGNALS, STEPS, ITEMS = 32, 10, 128, 16
COLUMNS = Columns(
    signals={f"signal_{n}": True for n in range(SIGNALS)},
    layers=tuple(range(LAYERS)),
    tokens="first",
    vocabulary=None,
)


def swept(number: int) -> SweptItem:
    """An answer of one word a token, with signals that no compression finds a pattern in."""
    draws = np.random.default_rng(number)
    values = {name: draws.random((STEPS, LAYERS), dtype=np.float32) for name in COLUMNS.signals}
    pieces = tuple(f" word{step}" for step in range(STEPS))
    trace = SignalTrace(
        values=values,
        layers=COLUMNS.layers,
        answer_ids=torch.arange(STEPS),
        answer_tokens=pieces,
        answer="".join(pieces),
        prompt="Describe the image.",
        provenance={"replay": {"path": "block", "difference": 0.0}},
    )
    return SweptItem(item=Item(id=str(number), image=None, image_id=str(number)), trace=trace, batch_size=1)


def test_an_image_takes_at_most_a_fifth_of_a_megabyte(tmp_path: Path) -> None:
    write_part(tmp_path, 0, [swept(number) for number in range(ITEMS)], COLUMNS)
    size = sum(path.stat().st_size for path in tmp_path.rglob("*.parquet"))
    assert size / ITEMS <= 200_000
    assert pq.read_metadata(tmp_path / "words" / "part-000000.parquet").num_rows == ITEMS * STEPS
    assert has_part(tmp_path, 0)
    assert not has_part(tmp_path, 1)


def test_a_part_of_failures_alone_has_the_same_columns(tmp_path: Path) -> None:
    failed = FailedItem(item=Item(id="x", image=None, image_id="x"), stage="image", kind="ImageInputError", text="no")
    write_part(tmp_path, 0, [swept(0)], COLUMNS)
    write_part(tmp_path, 1, [failed], COLUMNS)
    for name in ("words", "images", "errors"):
        one, other = (pq.read_schema(tmp_path / name / f"part-00000{number}.parquet") for number in (0, 1))
        assert one.equals(other)
    assert pq.read_table(tmp_path / "errors")["message"].to_pylist() == ["no"]


def test_values_are_kept_to_the_last_bit_of_float32(tmp_path: Path) -> None:
    item = swept(3)
    write_part(tmp_path, 0, [item], COLUMNS)
    kept = np.stack(pq.read_table(tmp_path / "words")["signal_4"].to_pandas().to_list())
    np.testing.assert_array_equal(kept, item.trace.values["signal_4"])
