"""What people look at: the report's page, its pictures and its words."""
