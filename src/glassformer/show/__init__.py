"""A trace made visible: in the terminal, as pictures, in a notebook; it reads nodes and metrics."""
