"""What validation reads of an account beside what a release uses: values, and nothing changed."""
