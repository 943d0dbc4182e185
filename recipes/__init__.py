"""How every file in assets/ was made. Nothing here is imported at run time."""
