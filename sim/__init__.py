"""A GPU cluster you can break, in virtual time. Pure: no I/O, no clock."""
