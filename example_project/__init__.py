"""The example site: one page with an avatar that can use tools of the page."""
