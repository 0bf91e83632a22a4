"""The page of a corpus: what was kept, what was removed, and why, with the texts to judge by."""
