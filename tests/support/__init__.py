"""What the tests stand on: real servers in processes of their own, PostgreSQL, SDK files."""
