"""A decoding step as one C function: what stands here is the entrance, the rest is its own.

`CompiledStep` reads one text, `CompiledRows` several. `expressions` writes numbers and functions
in C, `loops` a formula's loops, `library` compiles and keeps what was written, `step` walks a model
and puts its step together.
"""

from glassformer.generation.c_step.library import NotCompiledError
from glassformer.generation.c_step.row_products import MOST_ROWS
from glassformer.generation.c_step.rows import CompiledRows
from glassformer.generation.c_step.step import CompiledPlan, CompiledStep

__all__ = ["MOST_ROWS", "CompiledPlan", "CompiledRows", "CompiledStep", "NotCompiledError"]
