"""Trainings that ``gpumedic launch`` runs, behind the port of ``core``: docs/real-jobs.md.

``records`` reads what launches say of themselves; ``picture`` makes one look of it; ``lines`` makes
events of their journals and says what they have mended by themselves; ``orders`` are what can be
ordered; ``cluster`` is the port.
"""
