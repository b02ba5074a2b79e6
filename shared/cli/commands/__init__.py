"""One module for each noun that people manage; each imports what is heavy inside its commands."""
