"""The example site's admin, with users and rows, under a strict security policy."""
