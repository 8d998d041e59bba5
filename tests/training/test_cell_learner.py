"""What is trained is what runs: the learner's loss, its gradients, and a backbone that stays as it is."""

from pathlib import Path
from typing import Any

import pytest
import torch

import lvlmscope as lv
from lvlmscope.interventions.depth_cell import CellConfig, DepthCell
from lvlmscope.models.families import family_of
from lvlmscope.training import CellLearner, Collator
from lvlmscope.training.collation import IGNORED
from tests.support import tiny_families, tiny_models, tiny_others
from tests.support.depth_cells import lively
from tests.support.small_training import loaded, processor, records
from tests.support.traced import from_inputs


def batch(folder: Path, count: int = 4, **options: Any) -> dict[str, Any]:
    return Collator(processor(), **options)(records(folder)[:count])


def loss_of(learner: CellLearner, given: dict[str, Any], **options: Any) -> torch.Tensor:
    with learner.attached(**options):
        loss = learner(**given)["loss"]
        if loss.requires_grad:
            loss.backward()
    return loss.detach()


def test_the_loss_is_that_of_the_intervention_at_work(tmp_path: Path) -> None:
    model, cell, given = loaded(), lively(), batch(tmp_path, 1)
    labels = given["labels"][0]
    answer = labels[labels != IGNORED].tolist()
    prompt = {
        name: value[:, : -len(answer)] for name, value in given.items() if name in ("input_ids", "attention_mask")
    }
    traced = from_inputs(
        model.model,
        prompt | {"pixel_values": given["pixel_values"]},
        answer=answer,
        interventions=[lv.HalluRNN(cell=cell)],
    )
    assert isinstance(traced, lv.Trace)
    learner = CellLearner(cell, model.model, model.family)
    torch.testing.assert_close(loss_of(learner, given), -traced.log_probs.mean(), atol=1e-5, rtol=1e-5)


def test_padding_on_either_side_gives_the_same_loss_and_gradients(tmp_path: Path) -> None:
    model, found = loaded(), []
    for side in ("left", "right"):
        cell = lively()
        loss = loss_of(CellLearner(cell, model.model, model.family), batch(tmp_path / side, padding_side=side))
        found.append([loss, *(p.grad for p in cell.parameters())])
    for left, right in zip(*found, strict=True):
        torch.testing.assert_close(left, right, atol=1e-5, rtol=1e-4)


def test_a_new_cell_hardly_changes_the_loss(tmp_path: Path) -> None:
    model, given = loaded(), batch(tmp_path)
    learner = CellLearner(DepthCell(CellConfig(hidden_size=48)), model.model, model.family)
    with torch.no_grad():
        logits = model.model(**{n: v for n, v in given.items() if n != "labels"}).logits
    plain = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), given["labels"][:, 1:].flatten())
    assert loss_of(learner, given) == pytest.approx(plain.item(), rel=2e-3)


@pytest.mark.parametrize(
    "kind",
    [
        {},
        {"gates": "constraint"},
        {"gates": "correction"},
        {"weighting": "confidence"},
        {"cell": "gru"},
        {"cell": "residual_gru"},
    ],
)
def test_gradients_equal_differences_of_the_loss(tmp_path: Path, kind: dict[str, Any]) -> None:
    case = tiny_models.llava(dtype=torch.float64)
    cell, given = lively(rank=2, **kind).double(), batch(tmp_path, 2)
    learner = CellLearner(cell, case.model, loaded().family)
    loss_of(learner, given)
    slope = [parameter.grad.clone() for parameter in cell.parameters() if parameter.grad is not None]
    assert len(slope) == len(list(cell.parameters()))
    length = torch.stack([each.square().sum() for each in slope]).sum().sqrt()

    def loss_along(step: float) -> torch.Tensor:
        with torch.no_grad():
            for parameter, each in zip(cell.parameters(), slope, strict=True):
                parameter.add_(step * each / length)
            return loss_of(learner, given)

    step = 2e-3  # LLaMA's norms round to float32 whatever the model's dtype
    above, below = loss_along(step), loss_along(-2 * step)
    torch.testing.assert_close((above - below) / (2 * step), length, rtol=5e-3, atol=0)


def test_checkpointing_changes_neither_loss_nor_gradients(tmp_path: Path) -> None:
    model, given, found = loaded(), batch(tmp_path), []
    for checkpointing in (False, True):
        cell = lively()
        loss = loss_of(CellLearner(cell, model.model, model.family), given, gradient_checkpointing=checkpointing)
        found.append([loss, *(p.grad for p in cell.parameters())])
    for kept, recomputed in zip(*found, strict=True):
        torch.testing.assert_close(kept, recomputed)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_backbone_is_as_before_also_after_an_exception(tmp_path: Path, checkpointing: bool) -> None:
    model, given = loaded(), batch(tmp_path)
    weights = {name: tensor.clone() for name, tensor in model.model.state_dict().items()}
    learner = CellLearner(lively(), model.model, model.family)
    assert [name.split(".")[0] for name in learner.state_dict()] == ["cell"] * len(learner.state_dict())
    model.model(**{name: value for name, value in given.items() if name != "labels"})  # leaves hooks of its own
    before = [tiny_models.footprint(model.model), [p.requires_grad for p in model.model.parameters()]]

    def stopped() -> None:
        with learner.attached(gradient_checkpointing=checkpointing):
            learner(**given)["loss"].backward()
            assert all(p.grad is None for p in model.model.parameters())
            assert not any(module.training for module in model.model.modules())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert [tiny_models.footprint(model.model), [p.requires_grad for p in model.model.parameters()]] == before
    assert not any(module.training for module in model.model.modules())
    assert all(torch.equal(tensor, weights[name]) for name, tensor in model.model.state_dict().items())


def test_gates_are_told_per_layer_and_then_start_anew(tmp_path: Path) -> None:
    model, cell = loaded(), lively(gates="correction")
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.zero_()
    learner = CellLearner(cell, model.model, model.family)
    loss_of(learner, batch(tmp_path))
    assert learner.pop_gates() == {"correction": {str(layer): pytest.approx(0.5) for layer in range(3)}}
    assert learner.pop_gates() == {}


def test_a_step_of_several_batches_divides_by_all_labels(tmp_path: Path) -> None:
    model, given = loaded(), batch(tmp_path)
    learner = CellLearner(lively(), model.model, model.family)
    count = int((given["labels"] != IGNORED).sum())
    mean = loss_of(learner, given)
    with learner.attached():
        torch.testing.assert_close(learner(**given, num_items_in_batch=2 * count)["loss"].detach(), mean / 2)


def test_weights_stress_their_labels(tmp_path: Path) -> None:
    model, given = loaded(), batch(tmp_path, 1)
    learner = CellLearner(lively(), model.model, model.family)
    (places,) = (given["labels"][0] != IGNORED).nonzero(as_tuple=True)
    each = []
    for place in places:
        weights = torch.zeros(given["labels"].shape)
        weights[0, place] = len(places)
        each.append(loss_of(learner, given | {"weights": weights}))
    torch.testing.assert_close(torch.stack(each).mean(), loss_of(learner, given))
    assert torch.stack(each).std() > 0.1


@pytest.mark.parametrize("family", ["qwen2_5_vl", "gemma3", "smolvlm", "gemma4"])
def test_the_loss_is_that_of_the_intervention_at_work_in_other_families(family: str) -> None:
    case = (tiny_families.FAMILIES | tiny_others.OTHERS)[family](1)
    rules = family_of(case.model)
    cell = lively(rules.text_config(case.model).hidden_size)
    answer = torch.tensor([[11, 12, 13, 14]])
    intervention = lv.HalluRNN(cell=cell)
    traced = from_inputs(case.model, case.inputs, answer=answer[0].tolist(), interventions=[intervention])
    assert isinstance(traced, lv.Trace)
    ids = case.inputs["input_ids"]
    given = {
        name: torch.cat([value, torch.zeros_like(answer)], 1) if value.shape == ids.shape else value
        for name, value in case.inputs.items()
    }
    given |= {"input_ids": torch.cat([ids, answer], 1)}
    given |= {"attention_mask": torch.ones_like(given["input_ids"])}
    labels = torch.cat([torch.full_like(ids, IGNORED), answer], 1)
    loss = loss_of(CellLearner(cell, case.model, rules), given | {"labels": labels}, gradient_checkpointing=True)
    torch.testing.assert_close(loss, -traced.log_probs.mean(), atol=1e-4, rtol=1e-4)
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in cell.parameters())
