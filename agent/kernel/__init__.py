"""The kernel's log as typed events: read on from a cursor, bounded, and nothing lost in silence."""
