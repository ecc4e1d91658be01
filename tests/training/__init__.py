"""Training: what a step, a loop and a run promise."""
