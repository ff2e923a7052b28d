"""Everything that does I/O or lives long: command line, cycle, collectors, actuators, webhooks, store, page."""
