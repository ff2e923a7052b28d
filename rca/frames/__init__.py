"""The plain-data front: two tables of readings and a graph in, suspects out."""

from rca.frames.answer import Answer, Suspect
from rca.frames.front import diagnose, explain

__all__ = ["Answer", "Suspect", "diagnose", "explain"]
