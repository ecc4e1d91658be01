"""The type checker of the tests: beartype, and an int is a float too, as static checkers hold."""

from beartype import BeartypeConf, beartype

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
