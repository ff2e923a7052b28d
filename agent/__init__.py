"""Everything that does I/O or lives long: command line, cycle, collectors, webhooks, store."""
