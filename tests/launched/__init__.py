"""Scripts that the tests of the launcher start; never imported."""
