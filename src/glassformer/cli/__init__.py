"""The commands: one thin file per verb, each with one function `command`."""
