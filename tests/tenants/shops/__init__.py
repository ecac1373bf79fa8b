"""The shops of the site."""
