"""Weights become text: a token is chosen, appended to the text, and the model is asked again."""
