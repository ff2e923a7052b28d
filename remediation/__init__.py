"""Causes in; a guarded, journaled plan and its outcome out."""
