"""From logits to better weights: loss, gradients, the optimizer, and runs that survive faults."""
