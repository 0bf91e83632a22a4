"""Documents to a clean, weighted, tokenised mixture."""
