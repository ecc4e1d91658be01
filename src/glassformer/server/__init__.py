"""The page and its API: traces of live models, served to a browser or written into one file."""
