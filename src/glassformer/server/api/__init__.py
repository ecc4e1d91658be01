"""The endpoints, by what they are about; each answers with a model of `schemas`."""
