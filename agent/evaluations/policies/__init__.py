"""Policies on simulated lives: on all cores or several machines, as rows, a page and a picture."""
