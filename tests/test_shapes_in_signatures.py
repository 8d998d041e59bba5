"""Shapes stand in the signatures of the modules that tensors pass through, and are checked while testing."""

import ast
import importlib
import inspect
from collections.abc import Callable

import pytest
import torch
from jaxtyping import Float, TypeCheckError
from shape_checking import names_shapes
from torch import Tensor

from lvlmscope.attention.attention_rows import AttentionRows
from lvlmscope.attention.functional_head_rule import HeadRule
from lvlmscope.attention.sensitive_head_rule import extreme_heads
from lvlmscope.hooks.attention_call import AttentionCall
from lvlmscope.runtime.output_patching import apply_gain
from lvlmscope.runtime.protocol import ForwardInfo

MODULES = (
    "lvlmscope.attention.attention_rows",
    "lvlmscope.hooks.attention_math",
    "lvlmscope.hooks.attention_tap",
    "lvlmscope.hooks.gradient_path",
    "lvlmscope.hooks.hidden_states",
    "lvlmscope.runtime.protocol",
    "lvlmscope.capture.replay",  # its tensors lie in dictionaries of arguments
    "lvlmscope.runtime.edit_validation",
    "lvlmscope.runtime.output_patching",
    "lvlmscope.attention.sensitive_head_rule",
    "lvlmscope.attention.functional_head_rule",
    "lvlmscope.capture.token_gradients",
)
# Signatures that take any shape, and why
OPEN_SHAPES = {
    "validate_edit": "an intervention's weights of another shape are refused with an InterventionError",
    "validate_gain": "so are its gains",
    "validate_values": "so are its residual stream and its logits",
}

KINDS = {"Bool", "Float", "Int"}
KEYS = torch.tensor([False, True, True, False])


def tree_of(module: str) -> ast.Module:
    return ast.parse(inspect.getsource(importlib.import_module(module)))


def annotations(tree: ast.Module) -> list[tuple[str, ast.expr]]:
    """Name and annotation of every parameter, return and field, and of every alias at a module's top."""
    found: list[tuple[str, ast.expr]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            every = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, node.args.vararg, node.args.kwarg)
            found += [(node.name, each.annotation) for each in every if each is not None and each.annotation]
            found += [(node.name, node.returns)] if node.returns else []
        elif isinstance(node, ast.ClassDef):
            found += [(node.name, field.annotation) for field in node.body if isinstance(field, ast.AnnAssign)]
    found += [(ast.unparse(alias.targets[0]), alias.value) for alias in tree.body if isinstance(alias, ast.Assign)]
    return found


def shaped(annotation: ast.expr) -> list[ast.Subscript]:
    return [
        node
        for node in ast.walk(annotation)
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id in KINDS
    ]


def tensors(annotation: ast.expr) -> list[ast.AST]:
    """Where a tensor is named, in whatever way."""
    return [
        node
        for node in ast.walk(annotation)
        if (isinstance(node, ast.Attribute) and node.attr == "Tensor")
        or (isinstance(node, ast.Name) and node.id == "Tensor")
        or (isinstance(node, ast.Constant) and "Tensor" in str(node.value))
    ]


def without_shape(tree: ast.Module) -> list[str]:
    return [
        f"{name}: {ast.unparse(annotation)}"
        for name, annotation in annotations(tree)
        if len(tensors(annotation)) != len(shaped(annotation))
    ]


@pytest.mark.parametrize("module", MODULES)
def test_every_tensor_in_a_signature_has_a_shape(module: str) -> None:
    assert not without_shape(tree_of(module))


def test_shapes_are_stated_at_all() -> None:
    stated = [each for module in MODULES for _, note in annotations(tree_of(module)) for each in shaped(note)]
    assert len(stated) >= 80


def test_only_named_functions_take_any_shape() -> None:
    trees = [tree_of(module) for module in MODULES]
    found = {
        name
        for tree in trees
        for name, note in annotations(tree)
        for each in shaped(note)
        if "..." in ast.unparse(each)
    }
    assert found == OPEN_SHAPES.keys()


@pytest.mark.parametrize(
    "source",
    [
        "def f(a: torch.Tensor): ...",
        "def f(*, a: dict[int, Tensor] | None = None): ...",
        "def f() -> tuple[Float[Tensor, 'head'], torch.Tensor]: ...",
        "def f(a: 'torch.Tensor'): ...",
        "class C:\n    a: torch.Tensor",
        "Pair = tuple[torch.Tensor, int]",
    ],
)
def test_a_bare_tensor_is_found(source: str) -> None:
    assert len(without_shape(ast.parse(source))) == 1


def is_checked(function) -> bool:
    """Whether one of the decorators is jaxtyping's."""
    while "jaxtyping" not in function.__code__.co_filename:
        if not hasattr(function, "__wrapped__"):
            return False
        function = function.__wrapped__
    return True


@pytest.mark.parametrize("module", MODULES)
def test_every_function_that_names_shapes_is_checked(module: str) -> None:
    loaded = importlib.import_module(module)
    functions = [node for node in tree_of(module).body if isinstance(node, ast.FunctionDef)]
    named = [node.name for node in functions if any(shaped(note) for _, note in annotations(ast.Module([node], [])))]
    assert [name for name in named if not is_checked(vars(loaded)[name])] == []


@pytest.mark.parametrize(
    "note", [Float[Tensor, "head"] | None, Callable[[Float[Tensor, "head"]], int], "Bool[Tensor, 'key']"]
)
def test_shapes_are_found_wherever_a_signature_has_them(note: object) -> None:
    assert names_shapes(note)
    assert not names_shapes(Callable[[torch.Tensor], "Trace | None"])


def call(**changed: torch.Tensor) -> AttentionCall:
    given = {"query": torch.rand(1, 4, 3, 8), "key": torch.rand(1, 2, 5, 8), "value": torch.rand(1, 2, 5, 6)} | changed
    return AttentionCall(module=torch.nn.Identity(), mask=None, kernel="sdpa", options={}, first_row=0, **given)


def forward(**changed: torch.Tensor) -> ForwardInfo:
    given = {"token_ids": torch.zeros(1, 4, dtype=torch.int64), "image_keys": KEYS[None]} | changed
    return ForwardInfo(prompt_length=4, past_length=0, first_row=3, num_queries=4, **given)


def test_right_shapes_pass() -> None:
    assert call().num_rows == 3
    assert forward().batch_size == 1
    assert AttentionRows(torch.rand(2, 3, 4), KEYS, visible_keys=KEYS[None]).image_mass.shape == (2, 3)


WEIGHTS = torch.rand(2, 3, 4)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: AttentionRows(WEIGHTS, KEYS, visible_keys=torch.ones(3, dtype=torch.bool)),
        lambda: AttentionRows(WEIGHTS, KEYS.expand(3, -1)),  # leading axes that do not broadcast
        lambda: AttentionRows(WEIGHTS, KEYS, answer_keys=KEYS.expand(5, 2, -1)),  # more of them than the weights have
        lambda: AttentionRows(WEIGHTS, KEYS.long()),
        lambda: AttentionRows(torch.rand(4), KEYS),
        lambda: call(value=torch.rand(1, 2, 4, 6)),
        lambda: call(key=torch.rand(1, 2, 5, 7)),
        lambda: call(query=torch.rand(2, 4, 3, 8)),
        lambda: forward(image_keys=torch.zeros(1, 5, dtype=torch.bool)),
        lambda: forward(token_ids=torch.zeros(1, 4)),
        lambda: extreme_heads(torch.tensor(0.5), 0.5, most=True),
        lambda: apply_gain(torch.rand(1, 3, 2, 8), [(torch.rand(1, 1, 4), "predicting")], 2),
        lambda: HeadRule(l_perc=1, tau_perc=0.3, l_reas=1, tau_reas=0.1).masks(torch.rand(2, 3), torch.arange(2)),
    ],
)
def test_a_wrong_shape_is_refused(wrong) -> None:
    with pytest.raises(TypeCheckError):
        wrong()
