"""A copy of the package in which a parameter and a list have been added to the table."""
