"""A trace made visible: in the terminal, as pictures, in a notebook; it reads Steps and metrics."""
