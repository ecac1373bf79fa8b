"""`perso_doctor --contact`: one short conversation with Perso, described in a report.

`steps` asks Perso and judges what comes back, `page` serves the page that holds the
conversation, `shapes` describes answers without repeating them, and `report` writes the
result down.
"""
