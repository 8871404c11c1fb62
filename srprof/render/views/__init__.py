"""Views: a record as a document, one file for each kind of record."""
