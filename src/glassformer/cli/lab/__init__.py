"""Change a number and see what follows; look at what the model knows, and where.

Every command takes a RUN: a run's folder, a preset or a model's name.
"""

VERBS: dict[str, str] = {
    "ablate": "Switch off heads, neurons or layers.",
    "edit": "Set any value or weight to another number.",
    "patch": "Put values of another prompt into this one.",
    "lens": "What the model would say after each layer.",
    "attribution": "One logit as the sum of what each part wrote.",
    "neighbors": "The tokens whose embeddings lie nearest to one's.",
    "analogy": "Words as arithmetic: a - b + c.",
    "in-context": "What it learns from its prompt, as a report with pictures.",
}

SPELLED_ALSO = {"neighbours": "neighbors"}
"""Other spellings of verbs, which no list shows."""
