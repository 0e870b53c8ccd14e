"""What the engine keeps: file trees, contents, results, archives; and its removal."""
