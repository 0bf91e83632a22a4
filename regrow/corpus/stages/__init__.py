"""What happens to the pages, stage by stage; `regrow.corpus.build` runs them in order."""
