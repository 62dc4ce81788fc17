"""Cases → a report whose every sentence cites its evidence."""
