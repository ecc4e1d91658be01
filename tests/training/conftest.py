"""The command line for these tests."""

from tests.command_line import columns as columns
from tests.command_line import glassformer as glassformer
