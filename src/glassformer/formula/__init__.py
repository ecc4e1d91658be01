"""The language of formulas: trees in index notation, and all that is done with one.

`nodes` are a tree's, `text` prints one and `tree` parses it into a `Formula`, `template` writes a
formula out for some axes, `latex` prints it for the page, `evaluate` computes it in float64 with a
rounding bound, `derive` differentiates it, `spelling` and `arithmetic` print it with numbers so
that a calculator agrees.
"""
