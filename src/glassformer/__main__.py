"""`python -m glassformer` is the command `glassformer`."""

from glassformer.cli.app import main

main()
