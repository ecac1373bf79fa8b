"""A copy of the package with one more parameter and one more list in the table."""
