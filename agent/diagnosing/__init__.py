"""Diagnosing tables of readings for a person: files in, sentences, JSON or a picture out."""
