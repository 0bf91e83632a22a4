"""One file for each kind of input; `regrow.corpus.read` chooses among them."""
