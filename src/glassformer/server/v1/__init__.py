"""The API that clients of OpenAI's speak: completions, chats, tokens, and how the server is."""
