"""What runs in containers: Dagger types in, Dagger types out; no AWS, no terminal."""
