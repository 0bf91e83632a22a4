"""Self-contained HTML pages: one style sheet, one script, small drawings."""
