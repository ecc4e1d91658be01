"""Text to tokens and back, as vLLM's server has it and lm-eval asks for it."""

from __future__ import annotations

from fastapi import APIRouter

from glassformer.server.v1 import schemas
from glassformer.server.v1.errors import FieldError
from glassformer.server.v1.responses import refusals
from glassformer.server.v1.services import ClientAnswers

router = APIRouter(responses=refusals())


@router.post("/tokenize")
async def tokenize(request: schemas.TokenizeRequest, answers: ClientAnswers) -> schemas.Tokenized:
    """The ids of a text, as the model would read it."""
    served = await answers.open(request.model)
    read = served.tokenizer.encode_prompt if request.add_special_tokens else served.tokenizer.encode
    ids = await answers.run(lambda: read(request.prompt))
    return schemas.Tokenized(tokens=ids, count=len(ids), max_model_len=served.capacity)


@router.post("/detokenize")
async def detokenize(
    request: schemas.DetokenizeRequest, answers: ClientAnswers
) -> schemas.Detokenized:
    """The text of ids."""
    served = await answers.open(request.model)
    size = served.state.model.config.vocab_size
    beyond = next((token for token in request.tokens if token >= size), None)
    if beyond is not None:
        raise FieldError("tokens", f"there is no token {beyond}; ids are 0 to {size - 1}")
    text = await answers.run(lambda: served.tokenizer.decode_known(request.tokens))
    return schemas.Detokenized(prompt=text)


@router.get("/tokenizer_info")
async def tokenizer_info(answers: ClientAnswers, model: str | None = None) -> schemas.TokenizerInfo:
    """What a tokenizer's special tokens are."""
    tokenizer = (await answers.open(model)).tokenizer
    named = tokenizer.named_tokens
    return schemas.TokenizerInfo(
        tokenizer_class="PreTrainedTokenizerFast",
        bos_token=named.get("bos_token"),
        eos_token=named.get("eos_token"),
        pad_token=named.get("pad_token"),
        chat_template=tokenizer.chat_template,
    )
