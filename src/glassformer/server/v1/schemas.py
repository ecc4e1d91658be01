"""What clients of OpenAI's API send, and what they are answered."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from glassformer.generation.sampling import LEAST_PENALTY
from glassformer.server.schemas import Count, Input, Integer

PROMPT_CHARACTERS = 1_000_000
PROMPTS = 128
MESSAGES = 1_000
LIKELIEST = 20

TokenId = Annotated[int, Field(ge=0, le=2**31), Integer]
Text = Annotated[str, Field(max_length=PROMPT_CHARACTERS)]
Ids = Annotated[list[TokenId], Field(min_length=1, max_length=PROMPT_CHARACTERS)]
Stop = Annotated[str, Field(min_length=1, max_length=1_000)]
Bias = Annotated[float, Field(ge=-100, le=100)]
Most = Annotated[int, Field(ge=0, le=10**6), Integer]
ModelName = Annotated[
    str, Field(max_length=200, description="As /v1/models names it; the first one if left out.")
]

NOT_DONE = ("frequency_penalty", "presence_penalty", "best_of", "suffix", "tools")
"""Fields that may only ask for nothing."""

NoPenalty = Annotated[float, Field(ge=0, le=0, description="Not supported; 0 is its default.")]


class StreamOptions(Input):
    include_usage: bool = False


class Request(Input):
    """What completions and chats have in common; a null is as if the field were left out.

    What is left open is as the model's folder says, else as OpenAI's API: a temperature of 1.
    """

    model: Annotated[str, Field(max_length=200, description="As /v1/models names it.")] | None = (
        None
    )
    n: Annotated[int, Field(ge=1, le=PROMPTS), Integer] | None = None
    seed: Count | None = Field(None, description="Choice i is drawn with seed + i.")
    stop: Stop | Annotated[list[Stop], Field(max_length=16)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: Annotated[float, Field(ge=0, le=100)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=1, le=2**31), Integer] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Field(ge=LEAST_PENALTY, le=100)] | None = None
    logit_bias: Annotated[dict[str, Bias], Field(max_length=1_000)] | None = Field(
        None, description="Token id to what is added to its score."
    )
    frequency_penalty: NoPenalty | None = None
    presence_penalty: NoPenalty | None = None
    user: Annotated[str, Field(max_length=1_000)] | None = Field(
        None, description="A client's own name for a person; it changes nothing and is not kept."
    )
    glass: bool | None = Field(
        None, description="Say of each token where its choice can be looked into."
    )


class CompletionRequest(Request):
    """A text, or several, to be continued."""

    prompt: (
        Text
        | Ids
        | Annotated[list[Text], Field(min_length=1, max_length=PROMPTS)]
        | Annotated[list[Ids], Field(min_length=1, max_length=PROMPTS)]
    ) = Field(examples=["the cat sat on"])
    max_tokens: Most | None = None
    echo: bool | None = None
    logprobs: Annotated[int, Field(ge=0, le=LIKELIEST), Integer] | None = None
    best_of: Annotated[int, Field(ge=1, le=1), Integer] | None = Field(
        None, description="Not supported; 1 is its default."
    )
    suffix: None = Field(None, description="Not supported.")


class TextPart(Input):
    type: Literal["text"]
    text: Text


class Message(Input):
    """A message of a chat; its template decides which roles there are, and in which order."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Text | Annotated[list[TextPart], Field(max_length=MESSAGES)]
    name: Annotated[str, Field(max_length=200)] | None = None

    @property
    def text(self) -> str:
        parts = self.content
        return parts if isinstance(parts, str) else "".join(part.text for part in parts)


class ResponseFormat(Input):
    """Text; other forms are not supported."""

    type: Literal["text"] = "text"


class ChatRequest(Request):
    """A chat to be continued by the assistant."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=MESSAGES)]
    max_tokens: Most | None = None
    max_completion_tokens: Most | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=LIKELIEST), Integer] | None = None
    response_format: ResponseFormat | None = None
    tools: Annotated[list[dict[str, Any]], Field(max_length=0)] | None = Field(
        None, description="Not supported."
    )


class TokenizeRequest(Input):
    """A text to cut into tokens; `add_special_tokens`: with what begins every text."""

    model: ModelName | None = None
    prompt: Text
    add_special_tokens: bool = True


class DetokenizeRequest(Input):
    model: ModelName | None = None
    tokens: Annotated[list[TokenId], Field(max_length=PROMPT_CHARACTERS)]


class Answer(BaseModel):
    """An answer; what is None is left out where OpenAI leaves it out."""

    model_config = ConfigDict(protected_namespaces=())


class Model(Answer):
    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str
    max_model_len: int = Field(description="How many tokens it reads at most.")


class Models(Answer):
    object: Literal["list"] = "list"
    data: list[Model]


class Usage(Answer):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class GlassToken(Answer):
    """Where the choice of a token can be looked into."""

    token: int
    text: str
    address: str | None = Field(
        description="As `glassformer explain` takes it, after the prompt; null for a translation"
        " that is not of the likeliest words."
    )
    link: str | None = Field(
        description="Opens the page there; null where the page can't: for ids of no token."
    )


class TextLogprobs(Answer):
    """Of each token: log-probabilities to base e; the first of a prompt has none."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]


class TextChoice(Answer):
    index: int
    text: str
    logprobs: TextLogprobs | None
    finish_reason: Literal["stop", "length"] | None
    glass: list[GlassToken] | None = None


class Completion(Answer):
    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    system_fingerprint: str
    choices: list[TextChoice]
    usage: Usage | None = None


class Likely(Answer):
    token: str
    logprob: float
    bytes: list[int]


class ChatLogprob(Likely):
    top_logprobs: list[Likely]


class ChatLogprobs(Answer):
    content: list[ChatLogprob]
    refusal: None = None


class ChatMessage(Answer):
    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None


class ChatDelta(Answer):
    role: Literal["assistant"] | None = None
    content: str | None = None


class ChatChoice(Answer):
    index: int
    message: ChatMessage
    logprobs: ChatLogprobs | None
    finish_reason: Literal["stop", "length"]
    glass: list[GlassToken] | None = None


class ChatPiece(Answer):
    index: int
    delta: ChatDelta
    logprobs: ChatLogprobs | None
    finish_reason: Literal["stop", "length"] | None
    glass: list[GlassToken] | None = None


class ChatCompletion(Answer):
    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    system_fingerprint: str
    choices: list[ChatChoice]
    usage: Usage


class ChatChunk(Answer):
    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    system_fingerprint: str
    choices: list[ChatPiece]
    usage: Usage | None = None


class Tokenized(Answer):
    tokens: list[int]
    count: int
    max_model_len: int


class Detokenized(Answer):
    prompt: str


class TokenizerInfo(Answer):
    tokenizer_class: str
    bos_token: str | None
    eos_token: str | None
    pad_token: str | None
    chat_template: str | None


class Health(Answer):
    status: Literal["ok"] = "ok"
    running: int
    waiting: int
