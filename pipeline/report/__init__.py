"""Reports for people: page, pictures and words."""
