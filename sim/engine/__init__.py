"""The compiled heart of the simulator: flat tables of plain data, and functions over them."""
