"""What tests need: servers in processes of their own, browsers, SDK files."""
