"""The admin of the example site, with users and rows, under a strict security policy."""
