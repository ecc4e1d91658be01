"""One pass, one update, one choice, recorded whole; of a model it knows that it is `Watchable`."""
