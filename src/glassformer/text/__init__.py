"""Text becomes tokens: corpora, tokenizers, token shards and the blocks that a model trains on."""
