"""One decoder and its Hugging Face folders."""
