"""What the functions of `ci.main` are made of."""
