"""An incident in; ranked causes with evidence out. Pure: no I/O, no clock."""
