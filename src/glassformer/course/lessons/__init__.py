"""One file a lesson, in the order of their names: a room goes in, a `Lesson` comes out."""
