"""Knowledge: documents in collections, revision by revision, searched here and carried to devices."""
