"""A Slurm cluster behind the port of ``core``: read and acted on by Slurm's own programs.

``hosts`` and ``records`` read what versions 22.05 to 26.05 say; ``calls`` runs the programs;
``picture`` makes one look of it; ``orders`` are what can be ordered; ``cluster`` is the port.
"""
