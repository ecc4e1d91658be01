"""The course: lessons as data, computed from a text and a small model that has learned it."""
