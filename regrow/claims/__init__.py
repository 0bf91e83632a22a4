"""The claims ledger: predictions over arms and abilities, and the verdicts that runs give."""
