"""A decoding step as one C function: `CompiledStep` is the entrance, the rest is its own.

`expressions` writes numbers and functions in C, `loops` a formula's loops, `library` compiles and
keeps what was written, `step` walks a model and puts its step together.
"""

from glassformer.generation.c_step.library import NotCompiledError
from glassformer.generation.c_step.step import CompiledPlan, CompiledStep

__all__ = ["CompiledPlan", "CompiledStep", "NotCompiledError"]
