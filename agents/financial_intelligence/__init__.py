"""Financial intelligence: finds where money can be earned or saved."""
