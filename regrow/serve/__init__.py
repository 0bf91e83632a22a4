"""An OpenAI-compatible server and a terminal chat."""
