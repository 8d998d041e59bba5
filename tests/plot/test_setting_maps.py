"""Two parameters of a grid against each other: planted answers, kinds, the figure in both backends, and bad input."""

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from lvlmscope import plot
from lvlmscope.errors import EvaluationError, ModelInputError, ShapeError
from lvlmscope.evaluation import Dataset, Evaluation, Item, score_answers, setting_map
from lvlmscope.interventions import HeadRescaling, LocoRE
from tests.support.drawn_figures import texts_outside

PAIRS = [(1, 2), (1, 6), (3, 2), (3, 6)]
RIGHT = {(1, 2): 0, (1, 6): 4, (3, 2): 8, (3, 6): 12}  # of 12 questions of which plain answers half right


def evaluated() -> Evaluation:
    """Twelve questions, six of each kind, all to be answered yes; what each setting gets right is planted."""
    items = tuple(
        Item(id=str(n), image=None, image_id=str(n), question="Is it?", label=True, kind="ab"[n % 2]) for n in range(12)
    )
    data = Dataset(name="planted", metric="pope", items=items)
    answers = {"plain": ["Yes."] * 6 + ["No."] * 6}
    answers |= {str(pair): ["Yes."] * count + ["No."] * (12 - count) for pair, count in RIGHT.items()}
    made = score_answers(data, answers, resamples=100)
    described = {str(pair): HeadRescaling(l_perc=pair[0], l_reas=pair[1]).describe() for pair in PAIRS}
    rows = [replace(row, interventions=(described[row.label],) if row.label in described else ()) for row in made.rows]
    return replace(made, rows=tuple(rows))


def mapped(rows: int = 5, columns: int = 4) -> xr.Dataset:
    middle = np.linspace(-0.2, 0.3, rows * columns).reshape(1, rows, columns)
    dims = ("kind", "l_perc", "l_reas")
    parts = {"difference": (dims, middle), "low": (dims, middle - 0.1), "high": (dims, middle + 0.1)}
    coords = {"kind": ["all"], "l_perc": list(range(rows)), "l_reas": [f"({n}, 0.5)" for n in range(columns)]}
    return xr.Dataset(parts, coords=coords, attrs={"score": "accuracy", "level": 0.95})


def test_cells_are_the_settings_differences() -> None:
    result = evaluated()
    found = setting_map(result, "accuracy", by_kind=True, resamples=200)
    assert found["difference"].dims == ("kind", "l_perc", "l_reas")
    assert found["l_perc"].values.tolist() == [1, 3]
    assert found["kind"].values.tolist() == ["all", "a", "b"]
    for (l_perc, l_reas), right in RIGHT.items():
        cell = found.sel(kind="all", l_perc=l_perc, l_reas=l_reas)
        assert cell["difference"].item() == pytest.approx(right / 12 - 0.5)
        gap = result.difference(str((l_perc, l_reas)), "plain").differences["accuracy"]
        assert cell["difference"].item() == pytest.approx(gap.value)
        assert cell["low"].item() <= gap.value <= cell["high"].item()
        for number, kind in enumerate("ab"):
            own = [n < right for n in range(number, 12, 2)]
            before = [n < 6 for n in range(number, 12, 2)]
            assert found["difference"].sel(kind=kind, l_perc=l_perc, l_reas=l_reas).item() == pytest.approx(
                (sum(own) - sum(before)) / 6
            )
    turned = setting_map(result, "accuracy", axes=("l_reas", "l_perc"), resamples=100)
    np.testing.assert_array_equal(turned["difference"][0], found["difference"].sel(kind="all").T)


def test_a_setting_that_is_not_there_is_undefined() -> None:
    result = evaluated()
    part = replace(result, rows=result.rows[:-1])
    assert np.isnan(setting_map(part, "accuracy", resamples=100)["difference"].sel(kind="all", l_perc=3, l_reas=6))


def test_bad_input_is_refused() -> None:
    result = evaluated()
    with pytest.raises(EvaluationError, match="score='speed'; expected: accuracy"):
        setting_map(result, "speed")
    with pytest.raises(EvaluationError, match=r"axes=\('l_perc', 'beta'\); expected: two of the parameters"):
        setting_map(result, "accuracy", axes=("l_perc", "beta"))
    one = replace(result, rows=result.rows[:3])
    with pytest.raises(EvaluationError, match="parameters that differ: l_reas"):
        setting_map(one, "accuracy")
    with pytest.raises(EvaluationError, match="with the same l_perc and tau_perc"):
        setting_map(result, "accuracy", axes=("l_perc", "tau_perc"))
    stack = (LocoRE().describe(), HeadRescaling().describe())
    rows = [replace(row, interventions=stack) if row.interventions else row for row in result.rows]
    with pytest.raises(EvaluationError, match=r"parameters that differ: none; expected: .* LocoRE\.beta"):
        setting_map(replace(result, rows=tuple(rows)), "accuracy")


@pytest.mark.parametrize("width", [5.3, 3.6])
def test_every_cell_has_its_number_and_clear_ones_a_frame(width: float) -> None:
    found = mapped()
    figure = plot.setting_map(found, width=width)
    panel = figure.axes[0]
    np.testing.assert_allclose(panel.images[0].get_array(), found["difference"][0])
    assert panel.images[0].get_clim() == (-0.3, 0.3)
    clear = int(((found["low"] > 0) | (found["high"] < 0)).sum())
    assert 0 < clear < 20
    assert len(panel.patches) == clear
    assert panel.get_ylabel() == "l_perc"
    told = panel.get_xlabel().split()
    assert told == f"l_reas framed: 95 % interval excludes zero ({clear} of 20 settings)".split()
    assert {text.get_text() for text in panel.texts} >= {"-0.20", "0.30"}
    assert not texts_outside(figure)
    assert plot.setting_map(found, limit=0.5).axes[0].images[0].get_clim() == (-0.5, 0.5)


def test_plotly_has_the_same_values() -> None:
    figure = plot.setting_map(mapped(), backend="plotly", title="boundaries")
    np.testing.assert_allclose(np.array(figure.data[0].z, dtype=float), mapped()["difference"][0])
    assert "boundaries" in figure.layout.title.text


@pytest.mark.usefixtures("unchecked_shapes")
def test_other_datasets_are_refused() -> None:
    two = xr.concat([mapped(), mapped().assign_coords(kind=["dogs"])], "kind")
    with pytest.raises(ShapeError, match=r"expected: what lvlmscope\.evaluation\.setting_map gives, of one kind"):
        plot.setting_map(two)
    assert plot.setting_map(two.sel(kind="dogs")).axes[0].get_title(loc="left") == "accuracy, dogs"
    with pytest.raises(ShapeError, match="a dataset of nothing"):
        plot.setting_map(xr.Dataset())
    with pytest.raises(ModelInputError, match="limit=0"):
        plot.setting_map(mapped(), limit=0.0)
