"""What `train_state` was called in 0.1."""

import warnings

from glassformer.training.train_state import open_run as open_run

warnings.warn(
    "glassformer.training.learner is called glassformer.training.train_state now",
    DeprecationWarning,
    stacklevel=2,
)
