"""What must not go wrong when everything else does."""
