"""The hub's keys on disk: root, issuing authorities, signing keys; how they are kept, follow one another and leave."""
