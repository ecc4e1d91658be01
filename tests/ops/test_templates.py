"""An op is a template over axes: what is one formula up to names is declared once.

Counted are elementary declarations, that is, formulas that were written down. A template used over
other axes, with other operands, or with a number of parameters in an operand's place counts once.
"""

import pytest

from glassformer.formula.nodes import Axis, Node, Param, Read, Reduce, Size, children_mapped, walk
from glassformer.formula.template import expand, groups_of
from glassformer.formula.tree import Formula
from glassformer.ops import REGISTRY, Op
from glassformer.ops.op import ROLES, TEMPLATES

ELEMENTARY = [op for op in REGISTRY.values() if isinstance(op, Op)]
FEW = 60


def anonymous(formula: Formula) -> str:
    """The formula with its axes, operands and parameters numbered as they come."""
    axes: dict[str, str] = {}
    names: dict[str, str] = {}

    def axis(name: str) -> str:
        return axes.setdefault(name, f"a{len(axes)}")

    def renamed(node: Node) -> Node:
        match node:
            case Axis(name):
                return Axis(axis(name))
            case Size(name):
                return Size(axis(name))
            case Param(name):
                return Param(names.setdefault(name, f"x{len(names)}"))
            case Read(operand, index):
                short = names.setdefault(operand, f"x{len(names)}")
                return Read(short, tuple(renamed(i) for i in index))
            case Reduce(kind, name, body):
                return Reduce(kind, axis(name), renamed(body))
            case _:
                return children_mapped(node, renamed)

    short_axes = tuple(axis(name) for name in formula.axes)
    return str(Formula("y", short_axes, renamed(formula.body)))


def test_at_most_sixty_elementary_ops_are_declared():
    assert len({op.declaration for op in ELEMENTARY}) <= FEW


def test_ops_that_are_one_formula_up_to_names_are_of_one_declaration():
    declared: dict[str, set[str]] = {}
    for op in ELEMENTARY:
        for formula in op.outputs:
            declared.setdefault(anonymous(formula), set()).add(op.declaration)
    drawn = anonymous(Formula.parse("y = drawn"))
    assert {f: d for f, d in declared.items() if len(d) > 1 and f != drawn} == {}


def test_every_template_is_used_and_every_role_is_known():
    assert {op.declaration for op in ELEMENTARY} >= TEMPLATES.keys()
    assert {op.role for op in ELEMENTARY} <= set(ROLES)


def test_a_number_in_an_operands_place_is_made_of_axes_and_parameters_alone():
    scaled = TEMPLATES["row_divide"].formula
    axes = {"B": (), "A": ("query", "key")}
    written = expand(scaled, "scores", axes, {"x": "raw"}, {"row": "sqrt(d_head)"})
    assert str(written) == "scores[query, key] = raw[query, key] / sqrt(d_head)"
    with pytest.raises(ValueError, match="reads an operand"):
        expand(scaled, "scores", axes, {}, {"row": "raw[query] + 1"})


def test_a_template_is_written_out_for_its_axes():
    linear = TEMPLATES["linear"]
    assert groups_of(linear.formula) == {"B", "I", "O"}
    axes = {"B": ("batch", "pos"), "I": ("head", "d_head"), "O": ("d_model",)}
    merged = expand(linear.formula, "attn_out", axes, {"x": "z", "W": "W_O", "b": "b_O"})
    assert str(merged) == (
        "attn_out[batch, pos, d_model] = sum(head, sum(d_head, z[batch, pos, head, d_head]"
        " * W_O[head, d_head, d_model])) + b_O[d_model]"
    )
    assert not any(isinstance(node, Axis) and node.name.isupper() for node in walk(merged.body))
