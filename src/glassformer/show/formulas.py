"""A formula as people read it."""

from __future__ import annotations

import re
from collections.abc import Mapping

from glassformer.trace import Address

NO_OPERANDS: Mapping[str, str] = {}


def formula_text(formula: object, operands: Mapping[str, str] = NO_OPERANDS) -> str:
    """A formula in which single numbers have no brackets and numbered operands their own names.

    operands: their addresses by the names in the formula.

    >>> formula_text("g[i] = d_w[i] * clip[()]")
    'g[i] = d_w[i] * clip'
    >>> formula_text("grad_norm = sqrt(sum_sq_0[()])", {"sum_sq_0": "opt/embed.W_E.sum_sq"})
    'grad_norm = sqrt(embed.W_E.sum_sq)'
    """
    names = {operand: Address.parse(path).name for operand, path in operands.items()}
    numbered = {
        operand: name
        for operand, name in names.items()
        if re.fullmatch(rf"{re.escape(name.rpartition('.')[2])}_\d+", operand)
    }
    text = str(formula).replace("[()]", "")
    return re.sub(r"\w+", lambda word: numbered.get(word[0], word[0]), text)
