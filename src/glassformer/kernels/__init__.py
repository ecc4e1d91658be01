"""How the ops are computed fast: products, look-ups, attention, the loss, the choice of a token.

`ops` says what is computed, and each kernel here has a test that compares it with that. What suits
one processor or one size alone is decided in one table, `kernels.choices`.
"""
