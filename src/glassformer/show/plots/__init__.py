"""Pictures for a lecture: attention, the next token, the loss, the embedding map."""
