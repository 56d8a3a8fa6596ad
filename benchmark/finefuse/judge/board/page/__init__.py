"""All that a page needs to show a board and to rank anew what it shows, as one JSON document."""
