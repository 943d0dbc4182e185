"""The colour of skin: where albedo maps come from."""
