"""Every value of a pass under its own address, and the arithmetic that made it."""

from glassformer.trace.address import Address as Address
from glassformer.trace.explain import Explanation as Explanation
from glassformer.trace.explain import Operand as Operand
from glassformer.trace.node import Node as Node
from glassformer.trace.tape import SILENT as SILENT
from glassformer.trace.tape import Recorder as Recorder
from glassformer.trace.trace import Trace as Trace
