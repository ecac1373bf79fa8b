"""A site with one page: an avatar that answers, draws on the page's own tools, and is written down."""
