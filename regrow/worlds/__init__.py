"""The built-in world: documents, tasks, raters and truths."""
