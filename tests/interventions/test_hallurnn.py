"""HalluRNN: the cell against its slow twin, in the model and alone; files; sizes; bad input."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import lvlmscope as lv
from lvlmscope.errors import CellError, InterventionError, ModelInputError
from lvlmscope.interventions import HalluRNN
from lvlmscope.interventions.depth_cell import CellConfig, DepthCell
from tests.reference import decoder
from tests.reference import depth_cell as twin
from tests.support import tiny_models
from tests.support.depth_cells import lively, saved
from tests.support.started_sessions import OPTIONS, STEPS, traced
from tests.support.traced import from_inputs

KINDS: dict[str, dict[str, Any]] = {
    "dual": {},
    "constraint": {"gates": "constraint"},
    "correction": {"gates": "correction"},
    "confidence": {"weighting": "confidence"},
    "gru": {"cell": "gru"},
    "residual_gru": {"cell": "residual_gru"},
}
each_kind = pytest.mark.parametrize("kind", KINDS)
each_near_identity = pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "gru"])


@each_kind
@pytest.mark.parametrize("strength", [1.0, 0.3])
def test_agrees_with_its_twin_on_logits(kind: str, strength: float) -> None:
    case, cell = tiny_models.llava(), lively(rank=7 if strength < 1 else None, **KINDS[kind])
    found = traced(case, HalluRNN(cell=cell, strength=strength))
    walk = twin.Walk(dict(cell.state_dict()), kind, strength)
    expected = decoder.answer_log_probs(case.model, case.inputs, found.answer_ids, shift=walk)
    torch.testing.assert_close(found.log_probs, expected.float(), atol=1e-5, rtol=1e-5)
    plain = decoder.answer_log_probs(case.model, case.inputs, found.answer_ids)
    assert (plain - expected).abs().max() > 1e-2


@each_kind
def test_one_step_equals_its_twin_in_float64(kind: str) -> None:
    torch.manual_seed(0)
    cell, (v, m) = lively(6, **KINDS[kind]).double(), torch.randn(2, 6, dtype=torch.float64)
    expected = torch.tensor(twin.step(dict(cell.state_dict()), kind, v.tolist(), m.tolist()), dtype=torch.float64)
    torch.testing.assert_close(cell(v, m).state, expected, atol=1e-12, rtol=1e-12)


@given(st.integers(0, 1000))
def test_the_dual_unit_lies_between_its_inputs(seed: int) -> None:
    """v' is a mean of v and m in every channel, with the weight that the docstring names."""
    generator = torch.Generator().manual_seed(seed)
    v, m = torch.randn(2, 5, 6, generator=generator, dtype=torch.float64) * 3
    output = lively(6, seed=seed).double()(v, m)
    damping = (1 - output.gates["correction"]) * (1 - output.gates["constraint"])
    torch.testing.assert_close(output.state, m - damping * (m - v))
    assert ((output.state >= torch.minimum(v, m)) & (output.state <= torch.maximum(v, m))).all()


def test_the_gru_is_the_standard_one() -> None:
    """torch's, where its reset gate lies on the same side: with the state's matrix of the candidate diagonal."""
    torch.manual_seed(2)
    cell, theirs = lively(6, cell="gru").double(), torch.nn.GRUCell(6, 6).double()
    new, old = (
        [getattr(cell, side)[name].whole for name in ("reset_gate", "update_gate", "candidate")]
        for side in ("new", "old")
    )
    with torch.no_grad():
        old[2].copy_(old[2].diagonal().diag())
        # torch's update gate is the share that is kept
        theirs.weight_ih.copy_(torch.cat([new[0], -new[1], new[2]]))
        theirs.weight_hh.copy_(torch.cat([old[0], -old[1], old[2]]))
        theirs.bias_ih.copy_(torch.cat([cell.bias["reset_gate"], -cell.bias["update_gate"], cell.bias["candidate"]]))
        theirs.bias_hh.zero_()
        v, m = torch.randn(2, 4, 6, dtype=torch.float64) * 3
        torch.testing.assert_close(cell(v, m).state, theirs(m, v))


def test_a_new_gru_has_biases_of_0() -> None:
    assert all((bias == 0).all() for bias in DepthCell(CellConfig(hidden_size=8, cell="gru")).bias.values())


@each_near_identity
@pytest.mark.parametrize("rank", [None, 4])
def test_it_starts_near_identity(kind: str, rank: int | None) -> None:
    torch.manual_seed(1)
    cell, (v, m) = DepthCell(CellConfig(hidden_size=48, rank=rank, **KINDS[kind])), torch.randn(2, 10, 48)
    bound = 0.1 if kind == "residual_gru" else 0.01
    assert (cell(v, m).state - m).norm() < bound * m.norm()


# Not of weighted gates: an undecided one is open
@pytest.mark.parametrize("kind", ["dual", "constraint", "correction", "residual_gru"])
def test_a_lower_first_bias_opens_the_gates(kind: str) -> None:
    torch.manual_seed(1)
    config, (v, m) = CellConfig(hidden_size=48, **KINDS[kind]), torch.randn(2, 10, 48)
    near, far = (DepthCell(config, bias=bias)(v, m).state - m for bias in (6.0, 0.0))
    assert far.norm() > 2 * near.norm()


def test_planted_gates_do_what_they_say() -> None:
    """A correction gate shut in channel 0 keeps v there; open elsewhere it lets m through."""
    cell = lively(3, gates="correction")
    with torch.no_grad():
        for name, parameter in cell.named_parameters():
            parameter.zero_()
            if name.startswith("bias"):
                parameter.copy_(torch.tensor([-50.0, 50.0, 50.0]))
    state = cell(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([10.0, 20.0, 30.0])).state
    torch.testing.assert_close(state, torch.tensor([1.0, 20.0, 30.0]))


def test_a_zero_stream_and_equal_streams_stay_finite() -> None:
    cell, zero = lively(6), torch.zeros(1, 6)
    assert torch.equal(cell(zero, zero).state, zero)
    same = torch.randn(1, 6)
    torch.testing.assert_close(cell(same, same).state, same)


def test_the_report_tells_gates_edits_and_stagnation() -> None:
    case, cell = tiny_models.llava(), lively()
    found = traced(case, HalluRNN(cell=cell)).effects[0]
    gates = found["gate_means_per_layer"]
    assert list(gates) == ["constraint", "correction"]
    assert all(list(means) == ["0", "1", "2"] for means in gates.values())
    assert all(0.2 < mean < 0.8 for means in gates.values() for mean in means.values())
    assert all(share > 0.01 for share in found["edit_share_per_layer"].values())
    assert found["shifted_layers"] == [0, 1, 2]
    assert not found["stagnant"]
    with torch.no_grad():
        cell.bias["correction"].fill_(-9.0)
    stuck = traced(case, HalluRNN(cell=cell)).effects[0]
    assert stuck["stagnant"]


@pytest.mark.parametrize("strength", [1.0, 0.25])
def test_gates_are_means_over_rows_and_channels_and_the_share_is_relative_to_the_stream(strength: float) -> None:
    case, cell = tiny_models.llava(), lively(gates="correction")
    with lv.intervene(case.model, HalluRNN(cell=cell, strength=strength)) as handle:
        made = case.model.generate(**case.inputs, **(OPTIONS | {"max_new_tokens": 1}))
    plain = from_inputs(case.model, case.inputs, answer=made[0, -1:].tolist(), hidden_states=True)
    assert isinstance(plain, lv.Trace)
    assert plain.hidden_states is not None
    embedding, first = plain.hidden_states[0, :2]
    output, told = cell(embedding, first), handle.report()[0]
    expected = output.gates["correction"].mean().item()
    assert told["gate_means_per_layer"]["correction"]["0"] == pytest.approx(expected, abs=1e-5)
    share = strength * (output.state - first).norm() / first.norm()
    assert told["edit_share_per_layer"]["0"] == pytest.approx(share.item(), rel=1e-4)


def test_the_cell_itself_is_not_changed_by_a_model_of_another_precision() -> None:
    case, cell = tiny_models.llava(dtype=torch.float64), lively()
    before = {name: tensor.clone() for name, tensor in cell.state_dict().items()}
    traced(case, HalluRNN(cell=cell))
    assert all(torch.equal(tensor, before[name]) for name, tensor in cell.state_dict().items())
    assert all(tensor.dtype == torch.float32 for tensor in cell.state_dict().values())


def test_runs_in_bfloat16() -> None:
    found = traced(tiny_models.llava(dtype=torch.bfloat16), HalluRNN(cell=lively()))
    assert found.num_steps == STEPS
    assert torch.isfinite(found.log_probs).all()


def test_traced_gradients_pass_through_the_cell() -> None:
    found = traced(tiny_models.llava(), HalluRNN(cell=lively()), gradients=True)
    assert found.gradient is not None
    assert torch.isfinite(found.gradient).all()
    assert found.gradient.abs().sum() > 0


@each_kind
def test_a_saved_cell_is_the_same_cell(kind: str, tmp_path: Path) -> None:
    cell = lively(8, rank=3, **KINDS[kind])
    cell.save(tmp_path / "cell", notes={"trained in": "a test"})
    again = DepthCell.load(tmp_path / "cell")
    assert again.config == cell.config
    assert all(torch.equal(a, b) for a, b in zip(cell.parameters(), again.parameters(), strict=True))
    assert not any(parameter.requires_grad for parameter in again.parameters())
    modes = {(tmp_path / "cell" / name).stat().st_mode for name in ("cell.json", "cell.safetensors")}
    assert len(modes) == 1
    assert json.loads((tmp_path / "cell/cell.json").read_text())["notes"] == {"trained in": "a test"}


def test_a_folder_and_its_cell_act_alike() -> None:
    case = tiny_models.llava()
    one, other = (traced(case, HalluRNN(cell=cell)) for cell in (saved(), lively()))
    assert torch.equal(one.log_probs, other.log_probs)


def test_a_cell_transfers_to_another_model_of_its_size() -> None:
    assert traced(tiny_models.llava(seed=5, layers=4), HalluRNN(cell=saved())).effects[0]["changed"]


def test_a_cell_of_another_size_is_refused_when_switched_on() -> None:
    case = tiny_models.llava()
    before = tiny_models.footprint(case.model)
    told = "a cell of hidden size 64 for a model of hidden size 48.*train hallurnn --model "
    with pytest.raises(CellError, match=told + "YOUR_MODEL, then"):
        lv.attach(case.model, HalluRNN(cell=lively(64)))
    case.model.name_or_path = "models/small-llava"
    with pytest.raises(CellError, match=told + "models/small-llava, then"):
        lv.attach(case.model, HalluRNN(cell=lively(64)))
    assert tiny_models.footprint(case.model) == before


@pytest.mark.usefixtures("unchecked_shapes")
def test_files_that_are_no_cell_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CellError, match=r"load a cell from .*nowhere.*cell.json and cell.safetensors"):
        DepthCell.load(tmp_path / "nowhere")
    lively(8).save(tmp_path)
    config = json.loads((tmp_path / "cell.json").read_text())
    for changed, told in (
        ({"format_version": 99}, "format 99"),
        ({"hidden_size": 9}, "a finite bias of constraint of width 9"),
        ({"cell": "lstm"}, "a field cell that is wrong"),
        ({"colour": "red"}, "colour"),
    ):
        (tmp_path / "cell.json").write_text(json.dumps(config | changed))
        with pytest.raises(CellError, match=told):
            DepthCell.load(tmp_path)
    (tmp_path / "cell.json").write_text("[]")
    with pytest.raises(CellError, match="load a cell"):
        DepthCell.load(tmp_path)
    (tmp_path / "cell.json").write_text(json.dumps(config))
    (tmp_path / "cell.safetensors").write_bytes(b"no tensors")
    with pytest.raises(CellError, match="load a cell"):
        DepthCell.load(tmp_path)


@pytest.mark.usefixtures("unchecked_shapes")
def test_bad_parameters_are_refused() -> None:
    with pytest.raises(ModelInputError, match=r"strength=1\.5"):
        HalluRNN(strength=1.5)
    with pytest.raises(InterventionError, match="cell=7 of type int"):
        HalluRNN(cell=7)  # type: ignore[arg-type]
    with pytest.raises(CellError, match="gates='both'"):
        CellConfig(hidden_size=8, gates="both")  # type: ignore[arg-type]
    with pytest.raises(CellError, match=r"gates='constraint' with cell='gru'"):
        CellConfig(hidden_size=8, cell="gru", gates="constraint")
    with pytest.raises(CellError, match="rank=9"):
        CellConfig(hidden_size=8, rank=9)
